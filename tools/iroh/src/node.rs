//! A node is a member of a fleet: it connects to its peers and forwards connections to them.
//!
//! Each peer has a loopback address of its own, the same on all hosts. What connects to it here is
//! forwarded to the peer of that address, where it arrives from the address of this node.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use iroh::dns::DnsResolver;
use iroh::endpoint::{BindOpts, Connection, NetReportConfig, QuicTransportConfig, VarInt, presets};
use iroh::{Endpoint, EndpointId, RelayMap, RelayMode, SecretKey};
use iroh_relay::server::Server;
use iroh_relay::tls::CaTlsConfig;
use rustls::client::danger::ServerCertVerifier;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::doors::{Arrivals, Doors, MOST_AT_ONCE};
use crate::links::{Link, Links};
use crate::relay::{self, Admission, Names, Pins};
use crate::settings::{self, Current, Peer, Settings};
use crate::{files, paths};

const PROTOCOL: &[u8] = b"/e3/forward/1";
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const PING_PAUSE: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(4);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How QUIC is to behave: it notices within seconds that a path has died, and keeps a connection without
/// one for a while.
fn transport() -> Result<QuicTransportConfig> {
    let streams = u32::try_from(2 * MOST_AT_ONCE)?;
    Ok(QuicTransportConfig::builder()
        .initial_rtt(Duration::from_millis(100)) // a first packet may be too early for the peer
        .max_idle_timeout(Some(Duration::from_secs(30).try_into()?))
        .default_path_keep_alive_interval(Duration::from_secs(2))
        .default_path_max_idle_timeout(Duration::from_secs(6))
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        // QUIC here gives up a connection with 1,024 gaps in a stream (noq-proto, MAX_CHUNKS): packets
        // of this window cannot leave so many
        .stream_receive_window(VarInt::from_u32(2 << 20))
        .receive_window(VarInt::from_u32(16 << 20))
        .send_window(16 << 20)
        .build())
}

/// Serves the settings in a folder until it is told to end; SIGHUP reads them again.
pub async fn serve(folder: &Path, secrets: &Path) -> Result<()> {
    // from the first moment on, as SIGHUP would end the program
    let mut again = signal(SignalKind::hangup())?;
    let mut end = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, current) = watch::channel(Arc::new(settings::read(folder)?));
    let key = files::key(&secrets.join(files::KEY))?;
    let _relay = start_relay(secrets, &current, &key).await?;
    let node = Node::start(key, current.clone()).await?;
    node.apply();
    paths::answer(folder, node.links.clone(), current)?;
    loop {
        tokio::select! {
            _ = end.recv() => break,
            _ = interrupt.recv() => break,
            _ = again.recv() => match settings::read(folder) {
                Ok(changed) => {
                    let before = sender.send_replace(Arc::new(changed));
                    node.change_relays(&before).await?;
                    node.apply();
                }
                Err(error) => eprintln!("the settings stay as they were: {error:#}"),
            },
        }
    }
    let _ = timeout(CLOSE_TIMEOUT, node.endpoint.close()).await;
    Ok(())
}

async fn start_relay(secrets: &Path, current: &Current, key: &SecretKey) -> Result<Option<Server>> {
    let settings = current.borrow().clone();
    let Some(own) = &settings.relay else {
        return Ok(None);
    };
    let by = Admission {
        current: current.clone(),
        own: key.public(),
    };
    Ok(Some(relay::start(own, secrets, by).await?))
}

struct Node {
    endpoint: Endpoint,
    current: Current,
    links: Arc<Links>,
    doors: Doors,
    arrivals: Arc<Arrivals>,
    keeping: Mutex<HashMap<EndpointId, (Peer, JoinHandle<()>)>>,
}

impl Node {
    async fn start(key: SecretKey, current: Current) -> Result<Arc<Self>> {
        let settings = current.borrow().clone();
        let relays = RelayMap::empty();
        for known in &settings.relays {
            relays.insert(known.url()?, Arc::new(known.config()?));
        }
        let pinned = current.clone();
        let verifier = move |provider| -> io::Result<Arc<dyn ServerCertVerifier>> {
            Ok(Arc::new(Pins {
                current: pinned.clone(),
                provider,
            }))
        };
        let verifier = CaTlsConfig::custom_server_cert_verifier(Arc::new(verifier));
        let mut report = NetReportConfig::default(); // HTTPS probes find a relay where no UDP passes
        report.captive_portal_check = false;
        let optional = BindOpts::default().set_is_required(false); // where the kernel has no IPv6
        let endpoint = Endpoint::builder(presets::Minimal)
            .secret_key(key)
            .alpns(vec![PROTOCOL.to_vec()])
            .relay_mode(RelayMode::Custom(relays))
            .ca_tls_config(verifier)
            .dns_resolver(DnsResolver::custom(Names(current.clone())))
            .net_report_config(report)
            .transport_config(transport()?)
            .clear_ip_transports()
            .bind_addr((Ipv4Addr::UNSPECIFIED, settings.port))?
            .bind_addr_with_opts((Ipv6Addr::UNSPECIFIED, settings.port), optional)?
            .bind()
            .await
            .with_context(|| format!("cannot listen at UDP port {}", settings.port))?;
        let links = Arc::new(Links::new(current.clone()));
        let doors = Doors::new(links.clone());
        let arrivals = Arc::new(Arrivals::new(current.clone()));
        let node = Arc::new(Self {
            endpoint,
            current,
            links,
            doors,
            arrivals,
            keeping: Mutex::default(),
        });
        tokio::spawn(node.clone().accept());
        Ok(node)
    }

    /// Serves exactly the peers of the settings; it touches only what changed.
    fn apply(self: &Arc<Self>) {
        let settings = self.current.borrow().clone();
        self.links.close_others();
        self.doors.apply(&settings);
        let mut keeping = self.keeping.lock().unwrap();
        keeping.retain(|id, (before, task)| {
            let same = settings.peer(*id) == Some(before);
            if !same {
                task.abort();
            }
            same
        });
        for peer in settings.peers.iter().filter(|peer| peer.dials) {
            keeping
                .entry(peer.id)
                .or_insert_with(|| (peer.clone(), tokio::spawn(self.clone().keep(peer.clone()))));
        }
    }

    /// Tells iroh which relays came and went.
    async fn change_relays(&self, before: &Settings) -> Result<()> {
        let settings = self.current.borrow().clone();
        for gone in before.relays.iter().filter(|relay| !settings.has(relay)) {
            self.endpoint.remove_relay(&gone.url()?).await;
        }
        for new in settings.relays.iter().filter(|relay| !before.has(relay)) {
            self.endpoint
                .insert_relay(new.url()?, Arc::new(new.config()?))
                .await;
        }
        Ok(())
    }

    /// Takes the connections that peers make.
    async fn accept(self: Arc<Self>) {
        while let Some(incoming) = self.endpoint.accept().await {
            let node = self.clone();
            tokio::spawn(async move {
                if let Ok(accepting) = incoming.accept()
                    && let Ok(connection) = accepting.await
                {
                    let _ = node.take(connection);
                }
            });
        }
    }

    fn take(&self, connection: Connection) -> Result<Arc<Link>> {
        let link = self.links.take(connection)?;
        tokio::spawn(self.arrivals.clone().serve(link.clone()));
        Ok(link)
    }

    /// Keeps a connection to a peer.
    async fn keep(self: Arc<Self>, peer: Peer) {
        let mut pause = FIRST_PAUSE;
        let mut known = self.links.newest(peer.id);
        loop {
            let link = match known.take() {
                Some(link) => Ok(link),
                None => self.dial(&peer).await,
            };
            match link {
                Ok(link) => {
                    self.until_silent(&peer, &link).await;
                    pause = FIRST_PAUSE;
                }
                Err(error) if pause == LONGEST_PAUSE => {
                    eprintln!("cannot connect to {}: {error:#}", peer.name);
                }
                Err(_) => {}
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(2 * pause);
        }
    }

    async fn dial(&self, peer: &Peer) -> Result<Arc<Link>> {
        let place = self.current.borrow().place(peer)?;
        let dialled = timeout(DIAL_TIMEOUT, self.endpoint.connect(place, PROTOCOL)).await;
        let connection = dialled?.map_err(|error| anyhow!("{error:#}"))?;
        self.take(connection)
    }

    /// Returns once a connection is closed, or its peer does not answer.
    async fn until_silent(&self, peer: &Peer, link: &Arc<Link>) {
        let silent = async {
            while matches!(timeout(PING_TIMEOUT, link.ping()).await, Ok(Ok(()))) {
                self.links.close_replaced(peer.id);
                sleep(PING_PAUSE).await;
            }
        };
        tokio::select! {
            _ = link.connection.closed() => {}
            () = silent => {}
        }
    }
}
