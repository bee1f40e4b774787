//! The connections to peers: at most a few of each, of which streams take the newest.
//!
//! A connection outlives changes of its path. One that has died without a word ends after a while by
//! itself; until then its streams wait on it, as the path may come back, while new streams take a
//! newer connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use iroh::endpoint::{Connection, PathEvent, RecvStream, SendStream, VarInt};
use iroh::{EndpointId, TransportAddr};
use n0_future::StreamExt;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::settings::Current;

const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
const OVER: VarInt = VarInt::from_u32(0);
const NO_PEER: VarInt = VarInt::from_u32(1);
const MOST_LINKS: usize = 8;

/// A connection to a peer, and how many streams of parties it carries.
pub struct Link {
    pub connection: Connection,
    streams: AtomicUsize,
    changes: AtomicUsize,
}

/// A stream that a link carries; it is counted until this is dropped.
pub struct Carried(Arc<Link>);

impl Carried {
    pub fn by(link: &Arc<Link>) -> Self {
        link.streams.fetch_add(1, Ordering::Relaxed);
        Self(link.clone())
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    /// Returns the address of the path that streams take now.
    pub fn path(&self) -> Option<TransportAddr> {
        let paths = self.connection.paths();
        let chosen = paths.iter().find(|path| path.is_selected());
        chosen.map(|path| path.remote_addr().clone())
    }

    /// Returns a text that this connection alone has, and that both ends know.
    pub fn mark(&self) -> String {
        let mut mark = [0; 8];
        match self
            .connection
            .export_keying_material(&mut mark, b"e3 mark", b"")
        {
            Ok(()) => format!("{:016x}", u64::from_be_bytes(mark)),
            Err(_) => String::new(),
        }
    }

    /// Returns how often another path was chosen.
    pub fn changes(&self) -> usize {
        self.changes.load(Ordering::Relaxed)
    }

    /// Opens a stream and says for which port it is.
    pub async fn open(&self, port: u16) -> Result<(SendStream, RecvStream)> {
        let (mut send, recv) = timeout(OPEN_TIMEOUT, self.connection.open_bi()).await??;
        send.write_all(&port.to_be_bytes()).await?;
        Ok((send, recv))
    }

    /// Returns once the peer has answered.
    pub async fn ping(&self) -> Result<()> {
        let (mut send, mut recv) = self.open(0).await?;
        send.finish()?;
        ensure!(
            recv.read_to_end(1).await?.is_empty(),
            "it answers with something else"
        );
        Ok(())
    }

    fn idle(&self) -> bool {
        self.streams.load(Ordering::Relaxed) == 0
    }
}

/// The links of a node.
pub struct Links {
    current: Current,
    of: Mutex<HashMap<EndpointId, Vec<Arc<Link>>>>,
    added: Notify,
}

impl Links {
    pub fn new(current: Current) -> Self {
        Self {
            current,
            of: Mutex::default(),
            added: Notify::new(),
        }
    }

    /// Takes a new connection, if it is with a peer; it is forgotten once it is closed.
    pub fn take(self: &Arc<Self>, connection: Connection) -> Result<Arc<Link>> {
        let id = connection.remote_id();
        let Some(name) = self.current.borrow().peer(id).map(|peer| peer.name.clone()) else {
            connection.close(NO_PEER, b"");
            bail!("{id} is no peer");
        };
        let link = Arc::new(Link {
            connection,
            streams: AtomicUsize::new(0),
            changes: AtomicUsize::new(0),
        });
        {
            let mut all = self.of.lock().unwrap();
            let links = all.entry(id).or_default();
            links.push(link.clone());
            if links.len() > MOST_LINKS {
                links.remove(0).connection.close(OVER, b"");
            }
        }
        self.added.notify_waiters();
        tokio::spawn(self.clone().watch(id, name, link.clone()));
        Ok(link)
    }

    /// Returns the newest connection with a peer.
    pub fn newest(&self, id: EndpointId) -> Option<Arc<Link>> {
        let all = self.of.lock().unwrap();
        let mut links = all.get(&id)?.iter().rev();
        links
            .find(|link| link.connection.close_reason().is_none())
            .cloned()
    }

    /// Returns the newest connection with a peer, once there is one.
    pub async fn some(&self, id: EndpointId) -> Arc<Link> {
        loop {
            let mut added = std::pin::pin!(self.added.notified());
            added.as_mut().enable(); // before the look, so that none is missed
            if let Some(found) = self.newest(id) {
                return found;
            }
            added.await;
        }
    }

    /// Closes the connections that a newer one has replaced, and that carry nothing.
    pub fn close_replaced(&self, id: EndpointId) {
        let all = self.of.lock().unwrap();
        for older in all.get(&id).into_iter().flatten().rev().skip(1) {
            if older.idle() {
                older.connection.close(OVER, b"");
            }
        }
    }

    /// Closes the connections of those that are no peers any more.
    pub fn close_others(&self) {
        let settings = self.current.borrow();
        for (id, links) in self.of.lock().unwrap().iter() {
            if settings.peer(*id).is_none() {
                links
                    .iter()
                    .for_each(|link| link.connection.close(NO_PEER, b""));
            }
        }
    }

    /// Tells in the log which path a connection takes, and forgets it once it is closed.
    async fn watch(self: Arc<Self>, id: EndpointId, name: String, link: Arc<Link>) {
        let mut events = link.connection.path_events();
        let mut before: Option<TransportAddr> = None;
        while let Some(event) = events.next().await {
            let PathEvent::Selected { remote_addr, .. } = event else {
                continue;
            };
            match before.replace(remote_addr.clone()) {
                Some(former) if former == remote_addr => {}
                Some(former) => {
                    link.changes.fetch_add(1, Ordering::Relaxed);
                    eprintln!("path to {name}: {former} -> {remote_addr}");
                }
                None => eprintln!("path to {name}: {remote_addr}"),
            }
        }
        let why = link.connection.closed().await;
        eprintln!("connection with {name} closed: {why}");
        let mut all = self.of.lock().unwrap();
        if let Some(links) = all.get_mut(&id) {
            links.retain(|other| !Arc::ptr_eq(other, &link));
            if links.is_empty() {
                all.remove(&id);
            }
        }
    }
}
