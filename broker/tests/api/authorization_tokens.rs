//! Bearer tokens over HTTP and the Schema Registry: a sound one opens what its bearer may use, and nothing else.
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use weir::security::acl::{Operation, Permission, ResourceType};

use crate::authorization::{binding, bindings};
use crate::authorization_web::{Answer, Scheme, ask_with, differences, give, start, world};

/// Signs tokens (ES256), and publishes the key that verifies them.
pub struct Issuer {
    pair: EcdsaKeyPair,
    folder: tempfile::TempDir,
}

impl Issuer {
    fn new() -> Issuer {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref();
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": "ES256",
                         "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..])});
        let folder = tempfile::tempdir().unwrap();
        let mut file = std::fs::File::create(folder.path().join("jwks.json")).unwrap();
        file.write_all(json!({ "keys": [key] }).to_string().as_bytes()).unwrap();
        Issuer { pair, folder }
    }

    fn url(&self) -> String {
        format!("file://{}/jwks.json", self.folder.path().display())
    }

    /// A token that is taken for the next ten minutes.
    pub fn good(&self, who: &str) -> String {
        self.token(who, &Value::Null)
    }

    /// The same with other claims.
    fn token(&self, who: &str, changes: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({"sub": who, "iss": "https://issuer", "aud": "weir", "exp": now + 600});
        for (claim, value) in changes.as_object().into_iter().flatten() {
            claims[claim] = value.clone();
        }
        let part = |value: &Value| BASE64.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "k1", "typ": "JWT"})), part(&claims));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64.encode(signature.as_ref()))
    }
}

fn settings(url: &str) -> [(&str, &str); 4] {
    [
        ("sasl.enabled.mechanisms", "SCRAM-SHA-256,OAUTHBEARER"),
        ("sasl.oauthbearer.jwks.endpoint.url", url),
        ("sasl.oauthbearer.expected.audience", "weir"),
        ("sasl.oauthbearer.expected.issuer", "https://issuer"),
    ]
}

/// Every route of the table, as every identity: a token opens what a password of the same name opens.
///
/// Seen failing: with tokens taken for whoever sends them being `User:root`, and with none taken.
#[tokio::test(flavor = "multi_thread")]
async fn everybody_with_a_token_is_answered_as_the_table_says() {
    let issuer = Issuer::new();
    let world = world(&bindings(), &settings(&issuer.url())).await;
    let differences = differences(&world, &Scheme::Bearer(&issuer)).await;
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Who has a token and no password is somebody too.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_for_the_routes_of_its_bearer_and_no_longer_than_it_says() {
    let issuer = Issuer::new();
    let url = issuer.url();
    let more: Vec<_> = settings(&url)
        .into_iter()
        .chain([("authorizer", "on"), ("sasl.oauthbearer.clock.skew.seconds", "0")])
        .collect();
    let (broker, http, registry) = start(&more).await;
    let allowed = [
        binding("scraper", Permission::Allow, Operation::Describe, ResourceType::Cluster, "kafka-cluster"),
        binding("app", Permission::Allow, Operation::Write, ResourceType::Topic, "t"),
    ];
    give(&broker, &allowed, &[]).await;
    let ask = async |token: &str, what: &str| -> Answer {
        let shown = Some(format!("Bearer {token}"));
        let schema = json!({ "schema": r#""string""# });
        match what {
            "metrics" => ask_with(http, shown, "GET", "/metrics", None).await,
            "verify" => ask_with(http, shown, "POST", "/lake/t/verify", None).await,
            "register t" => ask_with(registry, shown, "POST", "/subjects/t-value/versions", Some(schema)).await,
            "register u" => ask_with(registry, shown, "POST", "/subjects/u-value/versions", Some(schema)).await,
            "configure" => {
                let level = Some(json!({ "compatibility": "NONE" }));
                ask_with(registry, shown, "PUT", "/config", level).await
            }
            other => panic!("{other}"),
        }
    };
    for (who, what, status) in [
        ("scraper", "metrics", 200),
        ("scraper", "verify", 403),
        ("scraper", "register t", 403),
        ("scraper", "configure", 403),
        ("app", "metrics", 403),
        ("app", "register t", 200),
        ("app", "register u", 403),
        ("app", "configure", 403),
        ("stranger", "metrics", 403),
        ("stranger", "register t", 403),
        ("root", "metrics", 200),
        ("root", "configure", 200),
    ] {
        let answer = ask(&issuer.good(who), what).await;
        assert_eq!(answer.status, status, "{who}, {what}: {}", answer.body);
    }
    // The same bearer with a token that is not, or not any more, good: nobody, on the same routes.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let other = Issuer::new();
    for (what, token) in [
        ("expired", issuer.token("root", &json!({ "exp": now - 1 }))),
        ("for somebody else", issuer.token("root", &json!({ "aud": "other" }))),
        ("by somebody else", issuer.token("root", &json!({ "iss": "https://other" }))),
        ("signed by another key", other.good("root")),
    ] {
        for route in ["metrics", "configure"] {
            let answer = ask(&token, route).await;
            assert_eq!(answer.status, 401, "{what}, {route}: {}", answer.body);
            assert!(
                answer.head.contains("www-authenticate: bearer realm=\"weir\", error=\"invalid_token\""),
                "{}",
                answer.head
            );
        }
    }
    // One that was good a moment ago is not remembered.
    let short = issuer.token("scraper", &json!({ "exp": now + 3 }));
    assert_eq!(ask(&short, "metrics").await.status, 200);
    for _ in 0..200 {
        if ask(&short, "metrics").await.status == 401 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("a token outlived its expiry by seconds");
}
