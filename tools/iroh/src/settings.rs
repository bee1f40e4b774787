//! What a node is to do: its own place, the relays and its peers, as e3/overlays/iroh.py writes them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use iroh::{EndpointAddr, EndpointId, RelayConfig, RelayUrl, TransportAddr};
use iroh_relay::RelayQuicConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::sync::watch;

/// That of the settings.
pub const VERSION: u32 = 1;

const FILE: &str = "settings.json";
const LARGEST: u64 = 4 << 20;
const MOST_PEERS: usize = 1 << 12;

/// The settings as they are now; they may change while a node runs.
pub type Current = watch::Receiver<Arc<Settings>>;

/// Those of one node. `address` is its own one on the overlay, `port` the UDP port of direct
/// connections, and `ports` are forwarded.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub address: Ipv4Addr,
    pub port: u16,
    pub ports: Vec<u16>,
    pub relay: Option<OwnRelay>,
    pub relays: Vec<Relay>,
    pub peers: Vec<Peer>,
}

/// That this node relays: at this TCP port, and at this UDP port it tells others their addresses.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct OwnRelay {
    pub port: u16,
    pub discovery: u16,
}

/// A relay of the stack, which shows this very certificate for its name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    pub name: String,
    pub host: String,
    pub addresses: Vec<IpAddr>,
    pub port: u16,
    pub discovery: u16,
    pub certificate: String,
}

/// Another node. The addresses are where it can be dialled; if there are none, relays lead to it.
/// With `dials` this node makes the connection, else it waits for that of the peer.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub name: String,
    pub id: EndpointId,
    pub address: Ipv4Addr,
    pub addresses: Vec<SocketAddr>,
    pub dials: bool,
}

impl Settings {
    /// Returns the peer of that ID.
    pub fn peer(&self, id: EndpointId) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == id)
    }

    /// Returns where a peer can be reached: at its addresses, and by any relay.
    pub fn place(&self, peer: &Peer) -> Result<EndpointAddr> {
        let mut places: Vec<_> = peer
            .addresses
            .iter()
            .copied()
            .map(TransportAddr::Ip)
            .collect();
        for relay in &self.relays {
            places.push(TransportAddr::Relay(relay.url()?));
        }
        Ok(EndpointAddr::from_parts(peer.id, places))
    }

    /// Returns whether that relay is one of these, and still at its place.
    pub fn has(&self, other: &Relay) -> bool {
        let place = |relay: &Relay| (relay.host.clone(), relay.port, relay.discovery);
        self.relays.iter().any(|relay| place(relay) == place(other))
    }

    /// Returns the name of the relay with that address.
    pub fn relay_at(&self, url: &RelayUrl) -> Option<&str> {
        let of = |relay: &&Relay| relay.url().is_ok_and(|own| own == *url);
        self.relays.iter().find(of).map(|relay| relay.name.as_str())
    }

    fn check(&self) -> Result<()> {
        let mut seen = HashSet::new();
        ensure!(
            self.peers.len() <= MOST_PEERS,
            "has more than {MOST_PEERS} peers"
        );
        for (name, address) in [("address", self.address)].into_iter().chain(
            self.peers
                .iter()
                .map(|peer| (peer.name.as_str(), peer.address)),
        ) {
            // no other host may reach what listens there
            ensure!(
                address.is_loopback(),
                "{name}: {address} is no loopback address"
            );
            ensure!(
                seen.insert(address),
                "{name}: {address} is another's address, too"
            );
        }
        for relay in &self.relays {
            let wrong = || format!("relay {}", relay.name);
            relay.url().with_context(wrong)?;
            relay.pin().with_context(wrong)?;
        }
        Ok(())
    }
}

impl Relay {
    /// Returns the address by which iroh knows the relay.
    pub fn url(&self) -> Result<RelayUrl> {
        let text = format!("https://{}:{}", self.host, self.port);
        text.parse()
            .with_context(|| format!("{text} is no address"))
    }

    /// Returns the certificate that the relay must show.
    pub fn pin(&self) -> Result<CertificateDer<'static>> {
        match CertificateDer::from_pem_slice(self.certificate.as_bytes()) {
            Ok(found) => Ok(found),
            Err(error) => bail!("no certificate: {error}"),
        }
    }

    /// Returns the relay as iroh wants it.
    pub fn config(&self) -> Result<RelayConfig> {
        Ok(RelayConfig::new(
            self.url()?,
            Some(RelayQuicConfig::new(self.discovery)),
        ))
    }
}

/// Returns the settings in a folder.
pub fn read(folder: &Path) -> Result<Settings> {
    let file = folder.join(FILE);
    let parsed = || -> Result<Settings> {
        let size = std::fs::metadata(&file)?.len();
        ensure!(size <= LARGEST, "has more than {LARGEST} bytes");
        let found: Settings = serde_json::from_slice(&std::fs::read(&file)?)?;
        found.check()?;
        Ok(found)
    };
    parsed().with_context(|| file.display().to_string())
}
