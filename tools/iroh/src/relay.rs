//! A relay of the stack: its certificate, who may use it, and how nodes find and know it.
//!
//! No name is looked up anywhere, and no authority is believed: nodes know each relay's addresses and
//! its very certificate from their settings.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use iroh::EndpointId;
use iroh::dns::{BoxIter, DnsError, Resolver, TxtRecordData};
use iroh_relay::server::{
    Access, AccessControl, CertConfig, ClientRequest, QuicConfig, RelayConfig, Server,
    ServerConfig, TlsConfig,
};
use n0_future::boxed::BoxFuture;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

use crate::files;
use crate::settings::{Current, OwnRelay};

const CERTIFICATE: &str = "relay.crt";
const PRIVATE: &str = "relay.key";

/// Returns the certificate in a folder as PEM, made for that name if there is none.
pub fn certificate_or_new(folder: &Path, name: &str) -> Result<String> {
    let file = folder.join(CERTIFICATE);
    if !file.exists() {
        let made = rcgen::generate_simple_self_signed([name.to_owned()])?;
        files::write(
            &folder.join(PRIVATE),
            made.signing_key.serialize_pem().as_bytes(),
        )?;
        files::write(&file, made.cert.pem().as_bytes())?;
    }
    fs::read_to_string(&file).with_context(|| file.display().to_string())
}

/// Starts to relay for the members, and to tell them their addresses.
pub async fn start(own: &OwnRelay, secrets: &Path, by: Admission) -> Result<Server> {
    let at = |port| SocketAddr::new(everywhere(), port);
    let tls = tls_config(secrets)?;
    // iroh's service without TLS, which tells captive portals, is of no use here
    let mut relay = RelayConfig::new((Ipv4Addr::LOCALHOST, 0));
    let certificate = CertConfig::Manual {
        server_config: tls.clone(),
    };
    relay.tls = Some(TlsConfig::new(at(own.port), certificate));
    relay.access = Arc::new(by);
    let mut discovery = QuicConfig::new(at(own.discovery));
    discovery.server_config = Some(tls);
    let mut config = ServerConfig::default();
    config.relay = Some(relay);
    config.quic = Some(discovery);
    Server::spawn(config)
        .await
        .map_err(|error| anyhow!("cannot relay: {error:#}"))
}

fn tls_config(secrets: &Path) -> Result<rustls::ServerConfig> {
    let file = secrets.join(CERTIFICATE);
    let certificate =
        CertificateDer::from_pem_file(&file).with_context(|| file.display().to_string())?;
    let file = secrets.join(PRIVATE);
    let key = PrivateKeyDer::from_pem_file(&file).with_context(|| file.display().to_string())?;
    Ok(rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Returns what to bind to for all addresses of this host: both kinds, where the kernel has both.
fn everywhere() -> IpAddr {
    match std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Err(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

/// Lets members use a relay, and nobody else.
#[derive(Debug)]
pub struct Admission {
    pub current: Current,
    pub own: EndpointId,
}

impl AccessControl for Admission {
    async fn on_connect(&self, request: &ClientRequest) -> Access {
        let who = request.endpoint_id();
        if who == self.own || self.current.borrow().peer(who).is_some() {
            Access::Allow
        } else {
            Access::Deny { reason: None }
        }
    }
}

/// Knows where relays are, and asks nobody.
#[derive(Clone, Debug)]
pub struct Names(pub Current);

impl Names {
    fn addresses<T: Send + 'static>(
        &self,
        host: &str,
        of: fn(&IpAddr) -> Option<T>,
    ) -> BoxFuture<Result<BoxIter<T>, DnsError>> {
        let asked = host.trim_end_matches('.');
        let found: Vec<T> = self
            .0
            .borrow()
            .relays
            .iter()
            .filter(|relay| relay.host == asked)
            .flat_map(|relay| relay.addresses.iter().filter_map(of))
            .collect();
        Box::pin(async move { Ok(Box::new(found.into_iter()) as BoxIter<T>) })
    }
}

impl Resolver for Names {
    fn lookup_ipv4(&self, host: String) -> BoxFuture<Result<BoxIter<Ipv4Addr>, DnsError>> {
        self.addresses(&host, |address| match address {
            IpAddr::V4(found) => Some(*found),
            IpAddr::V6(_) => None,
        })
    }

    fn lookup_ipv6(&self, host: String) -> BoxFuture<Result<BoxIter<Ipv6Addr>, DnsError>> {
        self.addresses(&host, |address| match address {
            IpAddr::V6(found) => Some(*found),
            IpAddr::V4(_) => None,
        })
    }

    fn lookup_txt(&self, _: String) -> BoxFuture<Result<BoxIter<TxtRecordData>, DnsError>> {
        Box::pin(async { Ok(Box::new(std::iter::empty()) as BoxIter<TxtRecordData>) })
    }

    fn clear_cache(&self) {}

    fn reset(&self) -> Box<dyn Resolver> {
        Box::new(self.clone())
    }
}

/// Takes a relay for what it says it is if it shows the certificate of the settings.
#[derive(Debug)]
pub struct Pins {
    pub current: Current,
    pub provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pins {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = name.to_str();
        let known = |pin: CertificateDer<'_>| pin.as_ref() == shown.as_ref();
        let settings = self.current.borrow();
        let mut relays = settings.relays.iter().filter(|relay| relay.host == name);
        if relays.any(|relay| relay.pin().is_ok_and(known)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
