use super::load::{load_from, variable};
use super::*;

fn flags(pairs: &[(&str, &str)]) -> Overrides {
    let flags = pairs.iter().map(|(k, v)| ("--set".to_owned(), (*k).to_owned(), (*v).to_owned())).collect();
    Overrides { file: None, flags }
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn file(text: &str) -> (tempfile::TempDir, Overrides) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weir.toml");
    std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), text.as_bytes()).unwrap();
    (dir, Overrides { file: Some(path), flags: Vec::new() })
}

#[test]
fn defaults_are_sound_and_read_back_as_shown() {
    let config = load_from(&Overrides::default(), &[]).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.node.listeners.show(), "kafka://127.0.0.1:9092");
    let mut again = Config::default();
    for info in config.infos() {
        again.set(info.key, &info.shown, Source::File).unwrap();
        assert!(
            info.doc.ends_with('.') || info.doc.ends_with(").") || info.doc.ends_with("`."),
            "{}: {}",
            info.key,
            info.doc
        );
    }
    again.sources.clear();
    assert_eq!(again, config);
}

#[test]
fn names_are_unique_and_none_is_the_beginning_of_another() {
    let mut keys = Config::default().keys();
    keys.sort();
    for pair in keys.windows(2) {
        assert_ne!(pair[0], pair[1]);
        assert!(!pair[1].starts_with(&format!("{}.", pair[0])), "{} could not be written beside {}", pair[0], pair[1]);
    }
    let mut variables: Vec<_> = keys.iter().map(|key| variable(key)).collect();
    variables.dedup();
    assert_eq!(variables.len(), keys.len());
}

#[test]
fn flags_win_over_environment_which_wins_over_the_file() {
    let (_dir, mut overrides) = file(
        "data.dir = \"/a\"\nlisteners = [\"in://127.0.0.1:1\", \"out://127.0.0.1:2\"]\nlog.retention.ms = 5\n\
         [wal]\nfile.bytes = \"2MiB\"\nmax.bytes = 8_388_608\n",
    );
    overrides.flags = flags(&[("node.id", "3")]).flags;
    let config = load_from(&overrides, &environment(&[("WEIR_DATA_DIR", "/b"), ("WEIR_NODE_ID", "2")])).unwrap();
    assert_eq!((config.node.data_dir.as_str(), config.node.node_id), ("/b", 3));
    assert_eq!((config.storage.wal_file, config.storage.wal_max), (ByteCount::mib(2), ByteCount::mib(8)));
    assert_eq!(config.topic_defaults["retention.ms"], "5");
    assert_eq!(config.listeners().unwrap().len(), 2);
    assert_eq!(config.sources["wal.file.bytes"], Source::File);
    assert_eq!(config.sources["data.dir"], Source::Environment("WEIR_DATA_DIR".to_owned()));
}

#[test]
fn unknown_settings_name_the_nearest_and_their_place() {
    let (_dir, overrides) = file("[node]\nidd = 4\n");
    let error = load_from(&overrides, &[]).unwrap_err().to_string();
    assert!(error.contains("weir.toml: unknown setting `node.idd`; did you mean `node.id`?"), "{error}");
    let error = load_from(&Overrides::default(), &environment(&[("WEIR_DATADIR", "x")])).unwrap_err().to_string();
    assert!(error.contains("environment variable WEIR_DATADIR") && error.contains("`data.dir`"), "{error}");
    let other = environment(&[("WEIR_SERVICE_HOST", "10.0.0.1"), ("WEIR_PORT", "tcp://10.0.0.1:9092")]);
    assert_eq!(load_from(&Overrides::default(), &other).unwrap().ignored_variables.len(), 2);
    let error = load_from(&flags(&[("log.retention.mss", "5")]), &[]).unwrap_err().to_string();
    assert!(error.contains("did you mean `log.retention.ms`?"), "{error}");
    let error = load_from(&flags(&[("log.cleanup.policy", "deleet")]), &[]).unwrap_err().to_string();
    assert!(error.contains("log.cleanup.policy") && error.contains("delete"), "{error}");
}

#[test]
fn reachable_listener_without_authentication_is_refused_unless_insecure() {
    let open = [("listeners", "0.0.0.0:9092")];
    let error = load_from(&flags(&open), &[]).unwrap_err().to_string();
    assert!(error.contains("nothing authenticates") && error.contains("--insecure"), "{error}");
    let config = load_from(&flags(&[open[0], ("insecure", "true")]), &[]).unwrap();
    assert!(config.listeners().unwrap()[0].bind.is_unspecified());
}

#[test]
fn a_broker_that_others_reach_writes_tables_only_below_named_folders() {
    let roots = |pairs: &[(&str, &str)]| {
        let mut config = Config::default();
        config.set("data.dir", "/var/weir", Source::File).unwrap();
        for (key, value) in pairs {
            config.set(key, value, Source::File).unwrap();
        }
        // However S3 is reached from here.
        config.lake_roots().with_s3(S3Settings::default())
    };
    let below = |folders: &[&str]| LakeRoots::below(folders.iter().map(Into::into));
    assert_eq!(roots(&[]), LakeRoots::any());
    assert_eq!(roots(&[("listeners", "a://127.0.0.1:1,b://[::1]:2,c://localhost:3")]), LakeRoots::any());
    let reached = ("listeners", "a://127.0.0.1:1,b://10.0.0.1:2");
    assert_eq!(roots(&[reached]), below(&["/var/weir/lake"]));
    assert_eq!(roots(&[reached, ("lake.roots", "/lake, /other")]), below(&["/lake", "/other"]));
    assert_eq!(roots(&[("lake.roots", "/lake")]), below(&["/lake"]), "what is named counts everywhere");
    let both = below(&["/lake"]).and_urls(["s3://bay/lake".to_owned()]);
    assert_eq!(roots(&[reached, ("lake.roots", "s3://bay/lake,/lake")]), both);
    assert_eq!(roots(&[reached, ("lake.roots", "s3://bay/lake")]), below(&[]).and_urls(["s3://bay/lake".to_owned()]));
    let error = Config::default().set("lake.roots", "lake", Source::File).unwrap_err().to_string();
    assert!(error.contains("lake.roots") && error.contains("absolute"), "{error}");
}

#[test]
fn settings_of_s3_win_over_variables_and_secrets_are_not_shown() {
    let set = [
        ("lake.s3.endpoint", "http://store:9000"),
        ("lake.s3.secret.access.key", "hush"),
        ("lake.s3.session.token", "hush"),
        ("lake.s3.request.timeout", "2s"),
    ];
    let config = load_from(&flags(&set), &[]).unwrap();
    let variables = [("AWS_REGION", "eu-north-1"), ("AWS_SECRET_ACCESS_KEY", "other"), ("HOME", "/root")];
    let s3 = config.s3(variables.iter().map(|(name, value)| (name.into(), value.into())));
    assert_eq!(s3.environment.keys().collect::<Vec<_>>(), ["AWS_REGION", "AWS_SECRET_ACCESS_KEY"]);
    assert_eq!((s3.endpoint.as_deref(), s3.secret_access_key.as_deref()), (Some("http://store:9000"), Some("hush")));
    assert_eq!((s3.region, s3.request_timeout), (None, Duration::from_secs(2)));
    let shown = command::shown(&config);
    assert!(shown.contains("lake.s3.secret.access.key = \"(hidden)\""), "{shown}");
    assert!(!format!("{shown}{config:?}{:?}", config.infos()).contains("hush"));
    let error = load_from(&flags(&[("lake.s3.session.token", "(hidden)")]), &[]).unwrap_err().to_string();
    assert!(error.contains("lake.s3.session.token") && error.contains("hides"), "{error}");
}

#[test]
fn what_a_rest_catalog_is_told_of_us_is_not_shown() {
    let set = [
        ("lake.iceberg.rest.uri", "https://catalog/api"),
        ("lake.iceberg.rest.token", "hush"),
        ("lake.iceberg.rest.credential", "weir:hush"),
        ("lake.iceberg.rest.request.timeout", "2s"),
    ];
    let config = load_from(&flags(&set), &[]).unwrap();
    let rest = config.rest_catalog();
    assert_eq!((rest.uri.as_deref(), rest.warehouse.as_deref()), (Some("https://catalog/api"), None));
    assert_eq!((rest.token.as_deref(), rest.credential.as_deref()), (Some("hush"), Some("weir:hush")));
    assert_eq!((rest.scope.as_str(), rest.request_timeout), ("catalog", Duration::from_secs(2)));
    let shown = command::shown(&config);
    assert!(shown.contains("lake.iceberg.rest.credential = \"(hidden)\""), "{shown}");
    assert!(!format!("{shown}{config:?}{:?}{:?}", config.infos(), config.lake_roots()).contains("hush"));
}

#[test]
fn http_that_other_machines_reach_is_refused_unless_insecure() {
    let open = [("http.listen", "0.0.0.0:9644")];
    let error = load_from(&flags(&open), &[]).unwrap_err().to_string();
    assert!(error.contains("http.listen") && error.contains("127.0.0.1:9644"), "{error}");
    assert!(error.contains("--insecure"), "{error}");
    load_from(&flags(&[open[0], ("insecure", "true")]), &[]).unwrap();
}

#[test]
fn advertised_listeners_must_match_and_be_connectable() {
    for (advertised, problem) in [("out://h:1", "no listener named `out`"), ("kafka://0.0.0.0:1", "cannot connect")] {
        let error = load_from(&flags(&[("advertised.listeners", advertised)]), &[]).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let config = load_from(&flags(&[("advertised.listeners", "kafka://weir.example:9092")]), &[]).unwrap();
    assert_eq!(config.listeners().unwrap()[0].advertised.as_ref().unwrap().host, "weir.example");
}

#[test]
fn settings_out_of_bounds_are_refused_with_a_fix() {
    for (key, value) in [
        ("data.dir", ""),
        ("node.id", "-1"),
        ("socket.request.max.bytes", "1"),
        ("socket.request.max.bytes", "3GiB"),
        ("memory.limit", "1MiB"),
        ("memory.limit", "128MiB"),
        ("memory.write.bytes", "64MiB"),
        ("max.connections.total", "0"),
        ("wal.max.bytes", "64MiB"),
        ("num.partitions", "0"),
        ("group.min.session.timeout.ms", "1h"),
        ("lake.s3.endpoint", "store:9000"),
        ("lake.s3.request.timeout", "0"),
        ("lake.iceberg.rest.uri", "catalog:8181"),
        ("lake.iceberg.rest.oauth2.server.uri", "token"),
        ("lake.iceberg.rest.request.timeout", "1h"),
        ("lake.roots", "s3://bay/../x"),
    ] {
        assert!(load_from(&flags(&[(key, value)]), &[]).is_err(), "{key}={value}");
    }
}
