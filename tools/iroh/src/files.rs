//! What a node keeps: its key and its certificate, each written whole or not at all.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use iroh::SecretKey;

pub const KEY: &str = "key";

/// Returns the key in a file.
pub fn key(file: &Path) -> Result<SecretKey> {
    let content = fs::read(file).with_context(|| file.display().to_string())?;
    SecretKey::try_from(&content[..])
        .with_context(|| format!("{}: no Ed25519 key of 32 bytes", file.display()))
}

/// Returns the key in a file, which is made if there is none.
pub fn key_or_new(file: &Path) -> Result<SecretKey> {
    if file.exists() {
        return key(file);
    }
    let made = SecretKey::generate();
    write(file, &made.to_bytes())?;
    Ok(made)
}

/// Writes a file whole or not at all, readable for its user alone.
pub fn write(file: &Path, content: &[u8]) -> Result<()> {
    let folder = file.parent().context("a file has a folder")?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut opened| opened.write_all(content).and_then(|()| opened.sync_all()))
        .and_then(|()| fs::rename(&fresh, file));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written.with_context(|| file.display().to_string())
}

/// Removes a file if it is there.
pub fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| file.display().to_string())
        }
        _ => Ok(()),
    }
}
