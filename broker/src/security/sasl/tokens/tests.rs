//! Tokens against a verifier with a key of its own making. What is refused here is refused for one reason at a time: the sound
//! token of the same shape is taken in the same test.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;

struct Issuer {
    pair: EcdsaKeyPair,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Issuer {
    fn new() -> Issuer {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        Issuer { pair }
    }

    fn jwk(&self, id: &str) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256",
               "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..])})
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64.encode(signature.as_ref()))
    }
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "k1", "typ": "JWT"})
}

fn claims() -> Value {
    json!({"sub": "alice", "iss": "https://issuer", "aud": ["other", "weir"], "exp": now() + 100})
}

fn with(mut value: Value, key: &str, change: Value) -> Value {
    value[key] = change;
    value
}

fn without(mut value: Value, key: &str) -> Value {
    value.as_object_mut().unwrap().remove(key);
    value
}

async fn tokens(folder: &std::path::Path, keys: &[Value]) -> Arc<Tokens> {
    write_keys(folder, keys);
    let settings = SecuritySettings {
        jwks_url: format!("file://{}/jwks.json", folder.display()),
        oauth_audience: "weir".to_owned(),
        oauth_issuer: "https://issuer".to_owned(),
        oauth_skew: 5,
        ..SecuritySettings::default()
    };
    Tokens::open(&settings).await.unwrap()
}

fn write_keys(folder: &std::path::Path, keys: &[Value]) {
    let text = json!({ "keys": keys }).to_string();
    std::io::Write::write_all(&mut std::fs::File::create(folder.join("jwks.json")).unwrap(), text.as_bytes()).unwrap();
}

#[tokio::test]
async fn sound_token_names_its_bearer_until_it_expires() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let tokens = tokens(folder.path(), &[issuer.jwk("k1")]).await;
    let verified = tokens.verify(&issuer.token(&header(), &claims()), "").await.unwrap();
    assert_eq!(verified.name, "alice");
    let lifetime = verified.lifetime.unwrap().as_secs();
    assert!((100..=105).contains(&lifetime), "{lifetime}");
    // The only key of its kind needs no name.
    tokens.verify(&issuer.token(&without(header(), "kid"), &claims()), "alice").await.unwrap();
    let other = tokens.verify(&issuer.token(&header(), &claims()), "bob").await;
    assert_eq!(other, Err(Failure::Authorization));
}

#[tokio::test]
async fn tokens_with_one_thing_wrong_are_refused() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let tokens = tokens(folder.path(), &[issuer.jwk("k1")]).await;
    tokens.verify(&issuer.token(&header(), &claims()), "").await.unwrap();
    for (what, claims) in [
        ("expired", with(claims(), "exp", json!(now() - 6))),
        ("no expiry", without(claims(), "exp")),
        ("expiry as text", with(claims(), "exp", json!("9999999999"))),
        ("wrong audience", with(claims(), "aud", json!("other"))),
        ("no audience", without(claims(), "aud")),
        ("wrong issuer", with(claims(), "iss", json!("https://other"))),
        ("no issuer", without(claims(), "iss")),
        ("not yet", with(claims(), "nbf", json!(now() + 100))),
        ("no subject", without(claims(), "sub")),
        ("subject that is no name", with(claims(), "sub", json!(7))),
        ("empty subject", with(claims(), "sub", json!(""))),
    ] {
        let refused = tokens.verify(&issuer.token(&header(), &claims), "").await;
        assert!(matches!(refused, Err(Failure::Token(_))), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn tokens_that_the_issuer_did_not_sign_are_refused() {
    let (folder, issuer, stranger) = (tempfile::tempdir().unwrap(), Issuer::new(), Issuer::new());
    let tokens = tokens(folder.path(), &[issuer.jwk("k1")]).await;
    let sound = issuer.token(&header(), &claims());
    tokens.verify(&sound, "").await.unwrap();
    let unsigned = |header: Value| {
        let signed = issuer.token(&header, &claims());
        format!("{}.", signed.rsplit_once('.').unwrap().0)
    };
    let hmac = {
        // Signed with the public key as if it were a shared secret.
        let message = sound.rsplit_once('.').unwrap().0.split_once('.').unwrap().1;
        let message = format!("{}.{message}", BASE64.encode(with(header(), "alg", json!("HS256")).to_string()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, issuer.pair.public_key().as_ref());
        format!("{message}.{}", BASE64.encode(ring::hmac::sign(&key, message.as_bytes()).as_ref()))
    };
    let swapped = {
        let payload = BASE64.encode(with(claims(), "sub", json!("admin")).to_string());
        let parts: Vec<_> = sound.split('.').collect();
        format!("{}.{payload}.{}", parts[0], parts[2])
    };
    for (what, token) in [
        ("alg none", unsigned(with(header(), "alg", json!("none")))),
        ("alg None", unsigned(with(header(), "alg", json!("None")))),
        ("no signature", unsigned(header())),
        ("shared secret", hmac),
        ("other claims", swapped),
        ("another key", stranger.token(&header(), &claims())),
        ("unknown key", stranger.token(&with(header(), "kid", json!("k9")), &claims())),
        ("another algorithm", issuer.token(&with(header(), "alg", json!("ES384")), &claims())),
        ("nothing", String::new()),
        ("two parts", "a.b".to_owned()),
    ] {
        let refused = tokens.verify(&token, "").await;
        assert!(matches!(refused, Err(Failure::Token(_))), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn unknown_key_is_looked_for_once_in_a_while() {
    let (folder, first, second) = (tempfile::tempdir().unwrap(), Issuer::new(), Issuer::new());
    let tokens = tokens(folder.path(), &[first.jwk("k1")]).await;
    let token = second.token(&with(header(), "kid", json!("k2")), &claims());
    assert!(tokens.verify(&token, "").await.is_err());
    write_keys(folder.path(), &[first.jwk("k1"), second.jwk("k2")]);
    assert!(tokens.verify(&token, "").await.is_err(), "the keys were asked for a moment ago");
    *tokens.asked.lock().await = None; // as if REFRESH_PAUSE had passed
    tokens.verify(&token, "").await.unwrap();
    // Keys that cannot be read leave the old ones in force.
    write_keys(folder.path(), &[]);
    *tokens.asked.lock().await = None; // as if REFRESH_PAUSE had passed
    tokens.refresh().await;
    tokens.verify(&token, "").await.unwrap();
}

#[tokio::test]
async fn file_without_keys_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let symmetric = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k1"});
    for keys in [vec![], vec![symmetric]] {
        write_keys(folder.path(), &keys);
        let jwks_url = format!("file://{}/jwks.json", folder.path().display());
        let settings = SecuritySettings { jwks_url, ..SecuritySettings::default() };
        assert!(matches!(Tokens::open(&settings).await, Err(KeysError::None { .. })));
    }
    let settings = SecuritySettings { jwks_url: "file:///nonexistent".to_owned(), ..SecuritySettings::default() };
    assert!(matches!(Tokens::open(&settings).await, Err(KeysError::Unreadable { .. })));
}
