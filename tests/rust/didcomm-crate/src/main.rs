//! Packs or unpacks one message by the crate affinidi-messaging-didcomm, for tests.
//!
//! An order is read from standard input, the answer written to standard output, both as JSON: see
//! tests/unit/didcomm/test_interoperability.py. The crate resolves no DIDs: its caller does.

use std::error::Error;
use std::io;

use affinidi_crypto::jose::key_agreement::{Curve, PrivateKeyAgreement, PublicKeyAgreement};
use affinidi_messaging_didcomm::jwe::decrypt::{authcrypt_sender_kid, SenderKey};
use affinidi_messaging_didcomm::jwe::encrypt;
use affinidi_messaging_didcomm::jws::verify::{SignerKey, VerifyKey};
use affinidi_messaging_didcomm::message::{pack, unpack, Message};
use affinidi_messaging_didcomm::UnpackResult;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{json, Value};

type Fallible<T> = Result<T, Box<dyn Error>>;

fn bytes(jwk: &Value, member: &str) -> Fallible<[u8; 32]> {
    let text = jwk[member].as_str().ok_or("a key lacks a member")?;
    let data = Base64UrlUnpadded::decode_vec(text).map_err(|error| error.to_string())?;
    Ok(data.as_slice().try_into()?)
}

/// The id of the first key of a DID that is for this purpose.
fn kid<'a>(order: &'a Value, did: &str, purpose: &str) -> Fallible<&'a str> {
    order["documents"][did][purpose][0]
        .as_str()
        .ok_or_else(|| format!("{did} has no key for {purpose}").into())
}

fn public_jwk<'a>(order: &'a Value, kid: &str) -> Fallible<&'a Value> {
    let did = kid.split('#').next().unwrap_or_default();
    order["documents"][did]["verificationMethod"]
        .as_array()
        .and_then(|methods| methods.iter().find(|each| each["id"] == kid))
        .map(|method| &method["publicKeyJwk"])
        .ok_or_else(|| format!("no key {kid}").into())
}

fn private(order: &Value, kid: &str) -> Fallible<PrivateKeyAgreement> {
    let secret = bytes(&order["secrets"][kid], "d")?;
    Ok(PrivateKeyAgreement::from_raw_bytes(Curve::X25519, &secret)?)
}

fn packed(order: &Value) -> Fallible<String> {
    let message: Message = serde_json::from_value(order["message"].clone())?;
    let to = order["to"].as_str().ok_or("nobody to send to")?;
    let recipient = kid(order, to, "keyAgreement")?;
    let public = PublicKeyAgreement::from_jwk(public_jwk(order, recipient)?)?;
    let recipients = [(recipient, &public)];
    let Some(from) = order["from"].as_str() else {
        return Ok(pack::pack_encrypted_anoncrypt(&message, &recipients)?);
    };
    let sender = kid(order, from, "keyAgreement")?;
    let secret = private(order, sender)?;
    if order["signed"] == true {
        let signer = kid(order, from, "authentication")?;
        let signed = pack::pack_signed(&message, signer, &bytes(&order["secrets"][signer], "d")?)?;
        return Ok(encrypt::authcrypt(signed.as_bytes(), sender, &secret, &recipients)?);
    }
    Ok(pack::pack_encrypted_authcrypt(&message, sender, &secret, &recipients)?)
}

fn unpacked(order: &Value) -> Fallible<Value> {
    let text = order["packed"].as_str().ok_or("nothing to unpack")?;
    let envelope: Value = serde_json::from_str(text)?;
    let recipient = envelope["recipients"][0]["header"]["kid"].as_str().ok_or("no recipient")?;
    let secret = private(order, recipient)?;
    let from = authcrypt_sender_kid(text)?;
    let (mut sender, mut signer) = (None, None);
    if let Some(kid) = &from {
        sender = Some(PublicKeyAgreement::from_jwk(public_jwk(order, kid)?)?);
        let did = kid.split('#').next().unwrap_or_default();
        let signing = self::kid(order, did, "authentication")?;
        let key = VerifyKey::Ed25519(bytes(public_jwk(order, signing)?, "x")?);
        signer = Some((signing, key));
    }
    let bound = from.as_deref().zip(sender.as_ref()).map(|(kid, key)| SenderKey::new(kid, key));
    let signer = signer.as_ref().map(|(kid, key)| SignerKey::new(kid, key));
    match unpack::unpack_bound(text, Some(recipient), Some(&secret), bound, signer)? {
        UnpackResult::Encrypted {
            message,
            sender_kid,
            ..
        } => Ok(json!({ "body": message.body, "sender": sender_kid })),
        _ => Err("this is not encrypted".into()),
    }
}

fn main() -> Fallible<()> {
    let order: Value = serde_json::from_reader(io::stdin())?;
    let answer = match order["do"].as_str() {
        Some("pack") => json!({ "packed": packed(&order)? }),
        _ => unpacked(&order)?,
    };
    println!("{answer}");
    Ok(())
}
