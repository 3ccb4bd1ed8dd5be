use super::*;
use bytes::Bytes;

fn key(topic: &'static str, partition: i32) -> PartitionRef {
    PartitionRef { topic: TopicRef::name(topic), partition }
}

fn wanted_at(offset: i64) -> Wanted {
    Wanted { current_epoch: None, offset, last_fetched_epoch: None, max_bytes: 1 << 20 }
}

fn request(session_id: i32, session_epoch: i32, keys: &[PartitionRef]) -> SessionRequest {
    SessionRequest {
        session_id,
        session_epoch,
        uses_topic_ids: false,
        wanted: keys.iter().map(|k| (k.clone(), wanted_at(0))).collect(),
        forgotten: Vec::new(),
    }
}

fn empty_result(key: &PartitionRef, high_watermark: i64) -> FetchedPartition {
    FetchedPartition { high_watermark, last_stable: high_watermark, log_start: 0, ..FetchedPartition::new(key.clone()) }
}

fn with_data(key: &PartitionRef, high_watermark: i64) -> FetchedPartition {
    FetchedPartition { records: vec![Bytes::from_static(b"batch")], ..empty_result(key, high_watermark) }
}

/// A cache with one session over `a-0`, `a-1`, `b-0`, all known at high watermark 10.
fn cache_with_session() -> (SessionCache, i32, [PartitionRef; 3]) {
    let cache = SessionCache::default();
    let keys = [key("a", 0), key("a", 1), key("b", 0)];
    let context = cache.begin(0, request(0, 0, &keys)).unwrap();
    assert!(matches!(context, FetchContext::Full { .. }));
    let mut results: Vec<_> = keys.iter().map(|k| empty_result(k, 10)).collect();
    let id = cache.finish(0, context, &mut results);
    assert!(id > 0);
    assert_eq!(results.len(), 3, "the first answer names every partition");
    (cache, id, keys)
}

fn order(context: &FetchContext) -> Vec<String> {
    context
        .wanted()
        .keys()
        .map(|k| match &k.topic {
            TopicRef::Name(name) => format!("{name}-{}", k.partition),
            TopicRef::Id(id) => format!("{id}-{}", k.partition),
        })
        .collect()
}

#[test]
fn epoch_minus_one_is_sessionless_and_closes_the_named_session() {
    let (cache, id, keys) = cache_with_session();
    let context = cache.begin(1, request(id, -1, &keys)).unwrap();
    assert!(matches!(context, FetchContext::Sessionless { .. }));
    assert_eq!(cache.finish(1, context, &mut Vec::new()), 0);
    assert!(cache.is_empty());
    assert_eq!(cache.begin(2, request(id, 1, &[])).unwrap_err(), FetchSessionError::NotFound { id });
}

#[test]
fn incremental_answer_leaves_unchanged_partitions_out() {
    let (cache, id, keys) = cache_with_session();
    let context = cache.begin(1, request(id, 1, &[])).unwrap();
    assert_eq!(context.wanted().len(), 3);
    let mut results = vec![empty_result(&keys[0], 10), empty_result(&keys[1], 11), with_data(&keys[2], 10)];
    assert_eq!(cache.finish(1, context, &mut results), id);
    let told: Vec<_> = results.iter().map(|r| r.key.clone()).collect();
    assert_eq!(told, [keys[1].clone(), keys[2].clone()], "a moved high watermark and data are told");
}

#[test]
fn moved_log_start_is_told() {
    let (cache, id, keys) = cache_with_session();
    let context = cache.begin(1, request(id, 1, &[])).unwrap();
    let mut results = vec![FetchedPartition { log_start: 4, ..empty_result(&keys[0], 10) }];
    cache.finish(1, context, &mut results);
    assert_eq!(results.len(), 1);
}

#[test]
fn partition_is_told_again_after_its_error_went_away() {
    let (cache, id, keys) = cache_with_session();
    let failed = FetchedPartition { error_code: 56, ..empty_result(&keys[0], 10) };
    for (epoch, result, told) in
        [(1, failed.clone(), 1), (2, failed, 1), (3, empty_result(&keys[0], 10), 1), (4, empty_result(&keys[0], 10), 0)]
    {
        let context = cache.begin(1, request(id, epoch, &[])).unwrap();
        let mut results = vec![result];
        cache.finish(1, context, &mut results);
        assert_eq!(results.len(), told, "at epoch {epoch}");
    }
}

#[test]
fn wrong_epoch_is_refused_and_does_not_advance() {
    let (cache, id, _) = cache_with_session();
    let error = cache.begin(1, request(id, 5, &[])).unwrap_err();
    assert_eq!(error, FetchSessionError::EpochMismatch { id, expected: 1, got: 5 });
    assert!(cache.begin(1, request(id, 1, &[])).is_ok());
    assert!(cache.begin(1, request(id, 1, &[])).is_err(), "an epoch is used once");
}

#[test]
fn unknown_session_is_refused() {
    let cache = SessionCache::default();
    assert_eq!(cache.begin(0, request(77, 3, &[])).unwrap_err(), FetchSessionError::NotFound { id: 77 });
}

#[test]
fn session_refuses_the_other_way_of_naming_topics() {
    let (cache, id, _) = cache_with_session();
    let by_id = SessionRequest { uses_topic_ids: true, ..request(id, 1, &[]) };
    assert_eq!(cache.begin(1, by_id).unwrap_err(), FetchSessionError::TopicNaming { id, made_with_ids: false });
}

#[test]
fn epoch_wraps_to_one() {
    assert_eq!(epoch_after(i32::MAX), 1);
    assert_eq!(epoch_after(1), 2);
}

#[test]
fn changes_of_a_request_stay_in_the_session() {
    let (cache, id, keys) = cache_with_session();
    let mut change = request(id, 1, &[key("c", 9)]);
    change.wanted.insert(keys[1].clone(), wanted_at(42));
    change.forgotten = vec![keys[0].clone()];
    let context = cache.begin(1, change).unwrap();
    assert_eq!(order(&context), ["a-1", "b-0", "c-9"]);
    assert_eq!(context.wanted()[&keys[1]].offset, 42);
    cache.finish(1, context, &mut Vec::new());
    let context = cache.begin(2, request(id, 2, &[])).unwrap();
    assert_eq!(order(&context), ["a-1", "b-0", "c-9"]);
    assert_eq!(context.wanted()[&keys[1]].offset, 42);
}

#[test]
fn forgetting_everything_closes_the_session() {
    let (cache, id, keys) = cache_with_session();
    let forget = SessionRequest { forgotten: keys.to_vec(), ..request(id, 1, &[]) };
    assert!(matches!(cache.begin(1, forget).unwrap(), FetchContext::Sessionless { .. }));
    assert!(cache.is_empty());
}

#[test]
fn partitions_with_data_are_served_last_next_time() {
    let (cache, id, keys) = cache_with_session();
    let context = cache.begin(1, request(id, 1, &[])).unwrap();
    let mut results = vec![with_data(&keys[0], 12), empty_result(&keys[1], 10), empty_result(&keys[2], 10)];
    cache.finish(1, context, &mut results);
    let context = cache.begin(2, request(id, 2, &[])).unwrap();
    assert_eq!(order(&context), ["a-1", "b-0", "a-0"]);
}

#[test]
fn full_cache_answers_without_session_until_one_is_idle() {
    let limits = SessionLimits { sessions: 2, partitions: 100, idle_before_eviction_ms: 1000 };
    let cache = SessionCache::new(limits);
    let open = |now: u64| {
        let context = cache.begin(now, request(0, 0, &[key("a", 0)])).unwrap();
        cache.finish(now, context, &mut Vec::new())
    };
    let first = open(0);
    let second = open(500);
    assert_eq!(open(900), 0, "nobody is idle for long enough");
    assert!(cache.begin(950, request(first, 1, &[])).is_ok());
    assert!(open(1600) > 0, "the second one was idle for 1100 ms");
    assert!(cache.begin(1600, request(second, 1, &[])).is_err());
    assert!(cache.begin(1600, request(first, 2, &[])).is_ok());
}

#[test]
fn partitions_of_all_sessions_are_bounded() {
    let limits = SessionLimits { sessions: 100, partitions: 3, idle_before_eviction_ms: 1000 };
    let cache = SessionCache::new(limits);
    let keys = [key("a", 0), key("a", 1)];
    let context = cache.begin(0, request(0, 0, &keys)).unwrap();
    assert!(cache.finish(0, context, &mut Vec::new()) > 0);
    let context = cache.begin(0, request(0, 0, &keys)).unwrap();
    assert_eq!(cache.finish(0, context, &mut Vec::new()), 0);
    let context = cache.begin(0, request(0, 0, &keys[..1])).unwrap();
    assert!(cache.finish(0, context, &mut Vec::new()) > 0);
}
