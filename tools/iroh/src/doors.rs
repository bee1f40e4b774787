//! Doors listen at the addresses of peers and forward to them.
//!
//! Who opens a stream sends the port, two bytes, the most significant first. The other end connects to
//! that port from the address of its peer: the address of a connection tells which member made it.
//! Port 0 asks whether anybody is there.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, anyhow};
use iroh::EndpointId;
use iroh::endpoint::{RecvStream, SendStream, VarInt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::links::{Carried, Link, Links};
use crate::settings::{Current, Settings};

/// Connections that are forwarded to one peer at a time.
pub const MOST_AT_ONCE: usize = 256;

const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const LINK_TIMEOUT: Duration = Duration::from_secs(60);
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10); // for a program that is called before it listens
const LISTEN_TIMEOUT_A_PEER: Duration = Duration::from_secs(1); // all may start on one busy machine
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
const BUFFER_BYTES: usize = 128 << 10;
const BROKEN: VarInt = VarInt::from_u32(2);

type Place = (SocketAddrV4, EndpointId);
type Turn = Arc<tokio::sync::Mutex<()>>;

/// The open doors of a node.
pub struct Doors {
    links: Arc<Links>,
    open: Mutex<HashMap<Place, JoinHandle<()>>>,
}

impl Doors {
    pub fn new(links: Arc<Links>) -> Self {
        Self {
            links,
            open: Mutex::default(),
        }
    }

    /// Listens for exactly these peers.
    pub fn apply(&self, settings: &Settings) {
        let mut wanted = HashMap::new();
        for peer in &settings.peers {
            let places = Arc::new(Semaphore::new(MOST_AT_ONCE));
            for port in &settings.ports {
                let at = SocketAddrV4::new(peer.address, *port);
                wanted.insert((at, peer.id), places.clone());
            }
        }
        let mut open = self.open.lock().unwrap();
        open.retain(|place, listening| {
            let keep = wanted.contains_key(place);
            if !keep {
                listening.abort();
            }
            keep
        });
        for (place, places) in wanted {
            let links = &self.links;
            open.entry(place)
                .or_insert_with(|| tokio::spawn(listen(links.clone(), place, places)));
        }
    }
}

async fn listen(links: Arc<Links>, place: Place, places: Arc<Semaphore>) {
    let mut told = false;
    let listener = loop {
        match TcpListener::bind(place.0).await {
            Ok(listener) => break listener,
            Err(error) => {
                if !told {
                    eprintln!("cannot listen at {}: {error}", place.0);
                }
                told = true;
                sleep(LISTEN_AGAIN).await;
            }
        }
    };
    loop {
        match listener.accept().await {
            Ok((connection, _)) => match places.clone().try_acquire_owned() {
                Ok(taken) => {
                    let links = links.clone();
                    tokio::spawn(async move {
                        leave(links, place, connection).await;
                        drop(taken);
                    });
                }
                Err(_) => reset(&connection),
            },
            Err(_) => sleep(PAUSE).await, // such as no descriptor left: others will end
        }
    }
}

/// Forwards a connection of this host to the peer, once there is a way.
async fn leave(links: Arc<Links>, (at, id): Place, connection: TcpStream) {
    let way = async {
        loop {
            let link = links.some(id).await;
            match link.open(at.port()).await {
                Ok(stream) => return (Carried::by(&link), stream),
                Err(_) => sleep(PAUSE).await,
            }
        }
    };
    match timeout(LINK_TIMEOUT, way).await {
        Ok((_carried, (send, recv))) => join(connection, send, recv).await,
        Err(_) => reset(&connection),
    }
}

/// Serves the streams that peers open.
pub struct Arrivals {
    current: Current,
    turns: Mutex<HashMap<u16, Turn>>,
}

impl Arrivals {
    pub fn new(current: Current) -> Self {
        Self {
            current,
            turns: Mutex::default(),
        }
    }

    /// Serves the streams of one peer, until its connection ends.
    pub async fn serve(self: Arc<Self>, link: Arc<Link>) {
        while let Ok((send, recv)) = link.connection.accept_bi().await {
            tokio::spawn(self.clone().arrive(link.clone(), send, recv));
        }
    }

    async fn arrive(self: Arc<Self>, link: Arc<Link>, mut send: SendStream, mut recv: RecvStream) {
        let mut hello = [0; 2];
        let said = timeout(HELLO_TIMEOUT, recv.read_exact(&mut hello)).await;
        let port = u16::from_be_bytes(hello);
        if matches!(said, Ok(Ok(()))) {
            if port == 0 {
                let _ = send.finish();
                return;
            }
            let _carried = Carried::by(&link);
            match self.connect(&link, &mut send, port).await {
                Ok(connection) => return join(connection, send, recv).await,
                Err(error) => eprintln!("no connection to port {port}: {error:#}"),
            }
        }
        let _ = send.reset(BROKEN);
        let _ = recv.stop(BROKEN);
    }

    /// Connects to a port of this host until somebody listens there: the program that the peer's has
    /// called may start later. Of the streams that wait for it, one tries at a time: if each did, those
    /// of many peers would keep the processors from the program. It ends with the stream.
    async fn connect(&self, link: &Link, send: &mut SendStream, port: u16) -> Result<TcpStream> {
        let (from, to, patience): (Ipv4Addr, SocketAddrV4, Duration) = {
            let settings = self.current.borrow();
            let peer = settings.peer(link.connection.remote_id());
            let peer = peer.filter(|_| settings.ports.contains(&port));
            let from = peer.ok_or_else(|| anyhow!("it is not forwarded"))?.address;
            let peers = u32::try_from(settings.peers.len())?;
            let patience = LISTEN_TIMEOUT + peers * LISTEN_TIMEOUT_A_PEER;
            (from, SocketAddrV4::new(settings.address, port), patience)
        };
        let end = Instant::now() + patience;
        let mut turn = None;
        loop {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddrV4::new(from, 0).into())?;
            match socket.connect(to.into()).await {
                Err(error)
                    if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < end => {}
                done => return Ok(done?),
            }
            let wait = async {
                match turn {
                    None => turn = Some(self.turn(port).lock_owned().await),
                    Some(_) => sleep(PAUSE).await,
                }
            };
            tokio::select! {
                why = send.stopped() => {
                    return Err(anyhow!("the peer does not wait any more: {why:?}"));
                }
                () = wait => {}
            }
        }
    }

    fn turn(&self, port: u16) -> Turn {
        self.turns.lock().unwrap().entry(port).or_default().clone()
    }
}

/// Passes data both ways until both ends have finished. If either breaks, both are reset: the program
/// would take an end for one of the other program.
async fn join(mut connection: TcpStream, mut send: SendStream, mut recv: RecvStream) {
    let _ = connection.set_nodelay(true);
    let (from, to) = connection.split();
    if tokio::try_join!(outwards(from, &mut send), inwards(&mut recv, to)).is_err() {
        let _ = send.reset(BROKEN);
        let _ = recv.stop(BROKEN);
        reset(&connection);
    }
}

async fn outwards(mut from: ReadHalf<'_>, to: &mut SendStream) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match from.read(&mut buffer).await? {
            0 => break,
            read => to.write_all(&buffer[..read]).await?,
        }
    }
    to.finish()?;
    Ok(())
}

async fn inwards(from: &mut RecvStream, mut to: WriteHalf<'_>) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Some(read) = from.read(&mut buffer).await? {
        to.write_all(&buffer[..read]).await?;
    }
    to.shutdown().await?;
    Ok(())
}

/// Lets a connection end with a reset once it is dropped.
fn reset(connection: &TcpStream) {
    let _ = connection.set_zero_linger();
}
