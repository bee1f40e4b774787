//! A holder of a share by the crate frost-ed25519, asked line by line in JSON, for tests.
//!
//! Values are hexadecimal; an answer is a JSON object, which has `error` if the crate refuses.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use frost::keys::{
    KeyPackage, PublicKeyPackage, SecretShare, SigningShare, VerifiableSecretSharingCommitment,
    VerifyingShare,
};
use frost::round1::{NonceCommitment, SigningCommitments, SigningNonces};
use frost::round2::SignatureShare;
use frost::{Identifier, SigningPackage, VerifyingKey};
use frost_ed25519 as frost;
use rand_core::OsRng;
use serde::Deserialize;
use serde_json::{json, Value};

type Answer = Result<Value, Box<dyn std::error::Error>>;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ask {
    /// Whether a dealt value fits what its dealer published (Feldman).
    Dealt {
        identifier: u16,
        value: String,
        coefficients: Vec<String>,
    },
    /// Round 1: draw nonces for a share.
    Commit { share: String },
    /// Round 2: sign with the nonces drawn last.
    Sign {
        identifier: u16,
        share: String,
        threshold: u16,
        public_key: String,
        package: Package,
    },
    /// Add all shares of the signature, or name who cheated.
    Aggregate {
        public_key: String,
        threshold: u16,
        public_shares: BTreeMap<u16, String>,
        shares: BTreeMap<u16, String>,
        package: Package,
    },
}

#[derive(Deserialize)]
struct Package {
    message: String,
    commitments: BTreeMap<u16, (String, String)>,
}

impl Package {
    fn read(&self) -> Result<SigningPackage, Box<dyn std::error::Error>> {
        let mut all = BTreeMap::new();
        for (one, (hiding, binding)) in &self.commitments {
            let commitments = SigningCommitments::new(
                NonceCommitment::deserialize(&hex::decode(hiding)?)?,
                NonceCommitment::deserialize(&hex::decode(binding)?)?,
            );
            all.insert(Identifier::try_from(*one)?, commitments);
        }
        Ok(SigningPackage::new(all, &hex::decode(&self.message)?))
    }
}

struct Holder {
    nonces: Option<SigningNonces>,
}

impl Holder {
    fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Dealt {
                identifier,
                value,
                coefficients,
            } => dealt(identifier, &value, &coefficients),
            Ask::Commit { share } => self.commit(&share),
            Ask::Sign {
                identifier,
                share,
                threshold,
                public_key,
                package,
            } => self.sign(identifier, &share, threshold, &public_key, &package),
            Ask::Aggregate {
                public_key,
                threshold,
                public_shares,
                shares,
                package,
            } => aggregate(&public_key, threshold, &public_shares, &shares, &package),
        }
    }

    fn commit(&mut self, share: &str) -> Answer {
        let share = SigningShare::deserialize(&hex::decode(share)?)?;
        let (nonces, commitments) = frost::round1::commit(&share, &mut OsRng);
        let answer = json!({
            "hiding": hex::encode(commitments.hiding().serialize()?),
            "binding": hex::encode(commitments.binding().serialize()?),
            // secret, and shown so that another library can make the same share of the signature
            "nonces": [
                hex::encode(nonces.hiding().serialize()),
                hex::encode(nonces.binding().serialize()),
            ],
        });
        self.nonces = Some(nonces);
        Ok(answer)
    }

    fn sign(
        &mut self,
        identifier: u16,
        share: &str,
        threshold: u16,
        public_key: &str,
        package: &Package,
    ) -> Answer {
        let share = SigningShare::deserialize(&hex::decode(share)?)?;
        let key = KeyPackage::new(
            Identifier::try_from(identifier)?,
            share,
            VerifyingShare::from(share),
            VerifyingKey::deserialize(&hex::decode(public_key)?)?,
            threshold,
        );
        let nonces = self.nonces.take().ok_or("no nonces are drawn")?;
        let signed = frost::round2::sign(&package.read()?, &nonces, &key)?;
        Ok(json!({ "share": hex::encode(signed.serialize()) }))
    }
}

fn dealt(identifier: u16, value: &str, coefficients: &[String]) -> Answer {
    let mut all = Vec::new();
    for one in coefficients {
        all.push(hex::decode(one)?);
    }
    let share = SecretShare::new(
        Identifier::try_from(identifier)?,
        SigningShare::deserialize(&hex::decode(value)?)?,
        VerifiableSecretSharingCommitment::deserialize(all)?,
    );
    let (public_share, public_key) = share.verify()?;
    Ok(json!({
        "public_share": hex::encode(public_share.serialize()?),
        "public_key": hex::encode(public_key.serialize()?),
    }))
}

fn aggregate(
    public_key: &str,
    threshold: u16,
    public_shares: &BTreeMap<u16, String>,
    shares: &BTreeMap<u16, String>,
    package: &Package,
) -> Answer {
    let mut known = BTreeMap::new();
    for (one, text) in public_shares {
        known.insert(
            Identifier::try_from(*one)?,
            VerifyingShare::deserialize(&hex::decode(text)?)?,
        );
    }
    let mut signed = BTreeMap::new();
    for (one, text) in shares {
        signed.insert(
            Identifier::try_from(*one)?,
            SignatureShare::deserialize(&hex::decode(text)?)?,
        );
    }
    let key = VerifyingKey::deserialize(&hex::decode(public_key)?)?;
    let public = PublicKeyPackage::new(known, key, Some(threshold));
    let signature = frost::aggregate(&package.read()?, &signed, &public)?;
    Ok(json!({ "signature": hex::encode(signature.serialize()?) }))
}

fn main() -> io::Result<()> {
    let mut holder = Holder { nonces: None };
    for line in io::stdin().lock().lines() {
        let answer = serde_json::from_str(&line?)
            .map_err(Into::into)
            .and_then(|ask| holder.answer(ask))
            .unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(io::stdout(), "{answer}")?;
        io::stdout().flush()?;
    }
    Ok(())
}
