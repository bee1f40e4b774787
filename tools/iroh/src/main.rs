//! Joins a host to its peers by iroh and forwards TCP connections to them.
//!
//!     e3-iroh key FILE                  the endpoint ID of the key in FILE, which is made if there is none
//!     e3-iroh certificate FOLDER NAME   the certificate of the relay NAME, made in FOLDER if there is none
//!     e3-iroh serve FOLDER SECRETS      serve the settings in FOLDER, read again at SIGHUP
//!     e3-iroh paths FOLDER              how the node that serves FOLDER reaches each peer, as JSON
//!     e3-iroh version                   the version of the settings

mod doors;
mod files;
mod links;
mod node;
mod paths;
mod relay;
mod settings;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("e3-iroh: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["key", file] => println!("{}", files::key_or_new(Path::new(file))?.public()),
        ["certificate", folder, name] => {
            print!("{}", relay::certificate_or_new(Path::new(folder), name)?)
        }
        ["serve", folder, secrets] => node::serve(Path::new(folder), Path::new(secrets)).await?,
        ["paths", folder] => println!("{}", paths::ask(Path::new(folder)).await?),
        ["version"] => println!("{}", settings::VERSION),
        _ => bail!(
            "say what to do: key FILE, certificate FOLDER NAME, serve FOLDER SECRETS, paths FOLDER or version"
        ),
    }
    Ok(())
}
