use super::*;

#[test]
fn an_unknown_config_names_the_nearest_one() {
    let error = TopicConfigs::parse([("retention.mss", Some("1"))]).unwrap_err();
    assert_eq!(error.to_string(), "unknown topic config `retention.mss`; did you mean `retention.ms`?");
    assert_eq!(
        TopicConfigs::parse([("zzz", Some("1"))]).unwrap_err(),
        TopicConfigError::Unknown { name: "zzz".to_owned(), nearest: None }
    );
}

#[test]
fn an_invalid_value_says_what_is_allowed() {
    let error = TopicConfigs::parse([("cleanup.policy", Some("delet"))]).unwrap_err();
    assert!(error.to_string().contains("a comma-separated list of delete, compact"), "{error}");
    assert!(TopicConfigs::parse([("retention.ms", Some("-2"))]).is_err());
    assert!(TopicConfigs::parse([("retention.ms", None)]).is_err());
    assert!(TopicConfigs::parse([("remote.storage.enable", Some("true"))]).is_err());
    let lags = [("min.compaction.lag.ms", Some("10")), ("max.compaction.lag.ms", Some("5"))];
    assert_eq!(TopicConfigs::parse(lags).unwrap_err(), TopicConfigError::LagOrder { min: 10, max: 5 });
}

#[test]
fn every_default_is_admitted_and_names_are_sorted() {
    for definition in TABLE {
        assert!(definition.allowed.admits(definition.default), "{}", definition.name);
    }
    assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn lists_are_appended_to_and_subtracted_from() {
    let mut configs = TopicConfigs::default();
    configs.append("cleanup.policy", "compact").unwrap();
    assert_eq!(configs.get("cleanup.policy"), "delete,compact");
    configs.append("cleanup.policy", "compact").unwrap();
    assert_eq!(configs.get("cleanup.policy"), "delete,compact");
    configs.subtract("cleanup.policy", "delete").unwrap();
    assert!(configs.resolve().compacted && !configs.resolve().log.cleanup.delete);
    assert_eq!(configs.append("retention.ms", "1").unwrap_err(), TopicConfigError::NotAList { name: "retention.ms" });
    configs.delete("cleanup.policy").unwrap();
    assert_eq!(configs.overrides().count(), 0);
}

#[test]
fn settings_are_resolved_from_kafkas_words() {
    let settings = TopicConfigs::parse([
        ("retention.ms", Some("-1")),
        ("compression.type", Some("zstd")),
        ("message.timestamp.type", Some("LogAppendTime")),
        ("max.message.bytes", Some("5000")),
    ])
    .unwrap()
    .resolve();
    assert_eq!(settings.log.retention_ms, None);
    assert_eq!(settings.compression, Some((Compression::Zstd, Some(3))));
    assert!(settings.log_append_time && settings.log.log_append_time);
    assert_eq!(settings.max_message_bytes, 5000);
    assert_eq!(settings.timestamp_before_max_ms, None);
    assert_eq!(settings.timestamp_after_max_ms, Some(3_600_000));
}
