//! Users, their access control lists, and the commands that ask a broker over HTTP, against listeners that ask who it is.
use std::io::Write;
use std::process::{Output, Stdio};

use super::{Broker, Listeners, free, text, weir};

/// A broker whose second listener asks for a user, and whose first takes everybody for a super user.
fn with_users() -> (Broker, String) {
    let (open, guarded) = (free(), free());
    let kafka = format!("kafka://{open},sasl_plaintext://{guarded}");
    let settings = &[("WEIR_SUPER_USERS", "User:ANONYMOUS")];
    let mut broker =
        Broker::start_at(Listeners { kafka, http: "127.0.0.1:0".into(), registry: "off".into(), settings });
    broker.address = open;
    create(&broker, "bob");
    (broker, guarded)
}

fn create(broker: &Broker, user: &str) {
    let mut process = broker.command(&["user", "create", user]).stdin(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(format!("{user}-password\n").as_bytes()).unwrap();
    assert!(process.wait_with_output().unwrap().status.success());
}

fn run_as(broker: &Broker, user: &str, words: &[&str]) -> Output {
    let mut command = weir(broker.folder.path());
    command.env("WEIR_PASSWORD", format!("{user}-password")).args(["--username", user]).args(words);
    command.output().unwrap()
}

#[test]
fn some_columns_and_rows_of_a_topic_are_given_shown_and_taken_away() {
    let (broker, guarded) = with_users();
    let schema = "id BIGINT, country STRING, amount BIGINT, secret STRING";
    broker.ok(&["topic", "create", "orders", "-p", "1", "--schema", schema]);
    let row = |id: i64| {
        let country = if id % 2 == 0 { "DE" } else { "FR" };
        format!("{{\"id\":{id},\"country\":\"{country}\",\"amount\":{},\"secret\":\"s{id}\"}}\n", id * 10)
    };
    broker.produce(&["orders"], &(0..10).map(row).collect::<String>());
    let read = |more: &[&str]| {
        let words = [&["-b", &guarded, "consume", "orders", "-e"], more].concat();
        let output = run_as(&broker, "bob", &words);
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (ok, _, why) = read(&["--columns", "id", "-o", "csv"]);
    assert!(!ok && why.contains("TOPIC_AUTHORIZATION_FAILED"), "nothing is given yet: {why}");

    let add = ["acl", "add", "--allow-principal", "User:bob", "--operation", "read", "--topic", "orders"];
    let refused = broker.refused(&[&add[..], &["--columns", "id,amuont"]].concat());
    assert!(refused.contains("no column `amuont`") && refused.contains("amount"), "{refused}");
    let refused = broker.refused(&[&add[..], &["--where", "country = "]].concat());
    assert!(refused.contains("does not parse"), "{refused}");
    broker.ok(&[&add[..], &["--columns", "id,amount", "--where", "country = 'DE'"]].concat());

    let listed = broker.json(&["acl", "list", "--topic", "orders"]);
    let listed = listed.to_string();
    assert!(listed.contains("amount") && listed.contains("country = 'DE'") && listed.contains("User:bob"), "{listed}");
    let (ok, rows, why) = read(&["--columns", "id,amount", "-o", "csv"]);
    let rows: Vec<&str> = rows.lines().skip(1).collect();
    assert!(ok && rows == ["0,0", "2,20", "4,40", "6,60", "8,80"], "{rows:?} {why}");
    let (ok, _, why) = read(&["--columns", "id,secret"]);
    assert!(!ok && why.contains("secret"), "a hidden column does not exist: {why}");
    let (ok, _, why) = read(&["--columns", "id", "--where", "country = 'FR'"]);
    assert!(!ok && why.contains("country"), "the reader's own predicate uses readable columns only: {why}");
    let (ok, plain, why) = read(&["-f", "%v\\n"]);
    assert!(ok && plain.lines().count() == 5 && !plain.contains("secret") && !plain.contains("DE"), "{plain} {why}");

    broker.ok(&["acl", "remove", "--allow-principal", "User:bob", "--operation", "read", "--topic", "orders"]);
    assert!(!read(&["--columns", "id"]).0, "what was taken away is gone");
    assert!(!broker.json(&["acl", "list", "--topic", "orders"]).to_string().contains("User:bob"));
}

/// Passwords, tokens and keys are nowhere in a bundle, wherever they were given.
#[test]
fn a_bundle_has_what_is_needed_and_no_secrets() {
    const CANARY: &str = "s3cr3tCanary7341";
    let http = free();
    let settings = &[("WEIR_SUPER_USERS", "User:ANONYMOUS")];
    let broker = Broker::start_at(Listeners { kafka: free(), http: http.clone(), registry: "off".into(), settings });
    broker.ok(&["topic", "create", "flights", "-p", "3"]);
    let log = broker.folder.path().join("broker.log");
    let lines = format!("INFO ready\nWARN asked with Authorization: Bearer {CANARY}\nWARN password={CANARY}\n");
    #[allow(clippy::disallowed_methods, reason = "a log that a test makes up")]
    std::fs::write(&log, lines).unwrap();
    let (bundle, data) = (broker.folder.path().join("b.tar.gz"), broker.folder.path().join("data"));
    let url = format!("sasl.oauthbearer.jwks.endpoint.url=https://u:{CANARY}@127.0.0.1:1/keys?key={CANARY}");
    let mut command = broker.command(&["debug", "bundle", "--http", &http, "--registry", "off", "--set", &url]);
    command.arg("--data-dir").arg(&data).arg("--out").arg(&bundle).arg("--log").arg(&log);
    let output = command.args(["--username", "bob"]).env("WEIR_PASSWORD", CANARY).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let listed = std::process::Command::new("tar").arg("-tzf").arg(&bundle).output().unwrap();
    let names = text(&listed.stdout);
    for part in ["version.txt", "config.txt", "doctor.txt", "metrics.txt", "files.txt", "segments.json", "log.txt"] {
        assert!(names.contains(&format!("weir-debug/{part}")), "{part}: {names}");
    }
    let all = std::process::Command::new("tar").arg("-xzOf").arg(&bundle).output().unwrap();
    let all = text(&all.stdout);
    for known in ["weir_ready 1", "listeners", "INFO ready", "weir 0.", "open files"] {
        assert!(all.contains(known), "{known}");
    }
    assert!(!all.contains(CANARY), "{}", all.lines().find(|line| line.contains(CANARY)).unwrap_or_default());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&bundle).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

/// Over TLS with passwords and with certificates.
#[test]
fn commands_that_ask_over_http_say_who_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let tls = |name: &str| folder.path().join("tls").join(name).display().to_string();
    let made = weir(folder.path()).args(["tls", "dev", "--client", "carol", "--out", &tls("")]).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let settings: Vec<(&'static str, &'static str)> = [
        ("WEIR_LISTENER_SECURITY_PROTOCOL_MAP", "http:SASL_SSL,registry:SASL_SSL".to_owned()),
        ("WEIR_SUPER_USERS", "User:ANONYMOUS".to_owned()),
        ("WEIR_SSL_CERTIFICATE_LOCATION", tls("server.pem")),
        ("WEIR_SSL_KEY_LOCATION", tls("server.key")),
        ("WEIR_SSL_CA_LOCATION", tls("ca.pem")),
        ("WEIR_SSL_CLIENT_AUTH", "requested".to_owned()),
        ("WEIR_SSL_PRINCIPAL_MAPPING_RULES", "RULE:^CN=([^,]+).*$/$1/".to_owned()),
    ]
    .map(|(name, value)| (name, &*value.leak()))
    .to_vec();
    let (http, registry) = (free(), free());
    let listeners =
        Listeners { kafka: free(), http: http.clone(), registry: registry.clone(), settings: settings.leak() };
    let broker = Broker::start_at(listeners);
    create(&broker, "bob");
    let at = |address: &str| format!("https://{}", address.replace("127.0.0.1", "localhost"));
    let (http, registry, ca) = (at(&http), at(&registry), tls("ca.pem"));
    let bob = |words: &[&str]| run_as(&broker, "bob", &[&["--tls-ca", &ca], words].concat());

    let mut nobody = weir(broker.folder.path());
    let output = nobody.args(["--tls-ca", &ca, "lake", "status", "--http", &http]).output().unwrap();
    let why = text(&output.stderr);
    assert!(!output.status.success() && why.contains("401") && why.contains("--username"), "{why}");
    let mut wrong = weir(broker.folder.path());
    wrong.env("WEIR_PASSWORD", "wrong").args(["--username", "bob", "--tls-ca", &ca, "lake", "status", "--http", &http]);
    assert!(text(&wrong.output().unwrap().stderr).contains("401"));
    let output = bob(&["lake", "status", "--http", &http]);
    assert!(output.status.success(), "{}", text(&output.stderr));

    let config = ["registry", "config", "--registry", &registry];
    let output = bob(&config);
    assert!(text(&output.stderr).contains("40301"), "{}", text(&output.stderr));
    let cluster = ["--operation", "describe-configs", "--cluster"];
    for who in ["User:bob", "User:carol"] {
        broker.ok(&[&["acl", "add", "--allow-principal", who], &cluster[..]].concat());
    }
    let output = bob(&config);
    assert!(text(&output.stdout).contains("BACKWARD"), "{}", text(&output.stderr));
    // A certificate is as good.
    let (certificate, key) = (tls("carol.pem"), tls("carol.key"));
    let mut carol = weir(broker.folder.path());
    carol.args(["--tls-ca", &ca, "--tls-cert", &certificate, "--tls-key", &key]).args(config);
    let output = carol.output().unwrap();
    assert!(text(&output.stdout).contains("BACKWARD"), "{}", text(&output.stderr));
}
