//! How a node reaches its peers: told at a socket, as one line of JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use iroh::TransportAddr;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use crate::files;
use crate::links::Links;
use crate::settings::Current;

const SOCKET: &str = "socket";
const TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// How a peer is reached: direct, relayed by another one, or none; where that is, how often it has
/// changed while this connection lasts, and a mark of the connection.
#[derive(Serialize)]
struct Answer {
    path: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    at: String,
    changes: usize,
    connection: String,
}

fn answers(links: &Links, current: &Current) -> BTreeMap<String, Answer> {
    let settings = current.borrow();
    let mut found = BTreeMap::new();
    for peer in &settings.peers {
        let link = links.newest(peer.id);
        let changes = link.as_ref().map_or(0, |link| link.changes());
        let connection = link.as_ref().map_or_else(String::new, |link| link.mark());
        let (path, by, at) = match link.and_then(|link| link.path()) {
            Some(TransportAddr::Relay(url)) => {
                let by = settings.relay_at(&url).unwrap_or_default().to_owned();
                ("relayed", by, url.to_string())
            }
            Some(TransportAddr::Ip(at)) => ("direct", String::new(), at.to_string()),
            _ => ("none", String::new(), String::new()),
        };
        found.insert(
            peer.name.clone(),
            Answer {
                path,
                by,
                at,
                changes,
                connection,
            },
        );
    }
    found
}

/// Gives whoever connects to the socket the paths.
pub fn answer(folder: &Path, links: Arc<Links>, current: Current) -> Result<()> {
    let at = folder.join(SOCKET);
    files::remove(&at)?;
    let listener = UnixListener::bind(&at).with_context(|| at.display().to_string())?;
    tokio::spawn(async move {
        loop {
            let Ok((mut connection, _)) = listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            let Ok(text) = serde_json::to_string(&answers(&links, &current)) else {
                continue;
            };
            tokio::spawn(async move {
                let _ = timeout(TIMEOUT, connection.write_all(text.as_bytes())).await;
            });
        }
    });
    Ok(())
}

/// Returns what the node that serves a folder answers.
pub async fn ask(folder: &Path) -> Result<String> {
    let at = folder.join(SOCKET);
    let asked = async {
        let mut said = String::new();
        UnixStream::connect(&at)
            .await?
            .read_to_string(&mut said)
            .await?;
        anyhow::Ok(said)
    };
    timeout(TIMEOUT, asked)
        .await?
        .with_context(|| at.display().to_string())
}
