//! Event tables, and random events against a model that has one entry for each offset.
//!
//! Seen failing: with acknowledged records stored as available ones (the random events, and what comes back of what is stored).
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use weir_protocol::ids::Timestamp;

use super::*;

const TERMS: Terms = Terms { lock_ms: 1_000, max_deliveries: 3, max_in_flight: 100 };
const WISH: Wish = Wish { max_records: 500, batch_size: 500 };

fn readable(first: i64, last: i64) -> FetchedBatch {
    FetchedBatch { first, last, readable: true }
}

fn marker(at: i64) -> FetchedBatch {
    FetchedBatch { first: at, last: at, readable: false }
}

fn acks(first: i64, last: i64, types: &[i8]) -> Vec<AckBatch> {
    vec![AckBatch { first, last, types: types.to_vec() }]
}

/// What is in flight as text: `A` available, `m` (its first letter) acquired, `+` acknowledged, `-` archived, with deliveries.
fn shown(partition: &SharePartition) -> String {
    let run = |(first, run): (i64, &Run)| {
        let state = match &run.state {
            RecordState::Available => "A".to_owned(),
            RecordState::Acquired { member, .. } => member[..1].to_owned(),
            RecordState::Acknowledged => "+".to_owned(),
            RecordState::Archived => "-".to_owned(),
        };
        format!("{first}-{}{state}{}", run.last, run.deliveries)
    };
    let runs: Vec<String> = partition.runs().map(run).collect();
    format!("[{}] {}..{}", runs.join(" "), partition.start(), partition.next())
}

struct Harness {
    partition: SharePartition,
    now: i64,
}

impl Harness {
    fn new(start: i64) -> Harness {
        Harness { partition: SharePartition::new(start, 0), now: 0 }
    }

    fn acquire(&mut self, member: &str, fetched: &[FetchedBatch]) -> Vec<(i64, i64, i16)> {
        self.acquire_wish(member, WISH, TERMS, fetched)
    }

    fn acquire_wish(
        &mut self,
        member: &str,
        wish: Wish,
        terms: Terms,
        fetched: &[FetchedBatch],
    ) -> Vec<(i64, i64, i16)> {
        let Some(from) = self.partition.next_fetch(&terms) else { return Vec::new() };
        let got = self.partition.acquire(Timestamp(self.now), &Arc::from(member), &terms, wish, from, fetched);
        got.iter().map(|a| (a.first, a.last, a.deliveries)).collect()
    }

    fn ack(&mut self, member: &str, batches: &[AckBatch]) -> Result<[i64; 4], AckError> {
        self.partition.acknowledge(member, batches, &TERMS)
    }
}

#[test]
fn records_are_acquired_acknowledged_and_left_behind() {
    let mut h = Harness::new(10);
    assert_eq!(h.acquire("a", &[readable(10, 14), readable(15, 19)]), [(10, 19, 1)]);
    assert_eq!(h.acquire("b", &[readable(20, 24)]), [(20, 24, 1)]);
    assert_eq!(h.ack("b", &acks(20, 24, &[1])), Ok([0, 5, 0, 0]));
    assert_eq!(shown(&h.partition), "[10-19a1 20-24+1] 10..25");
    assert_eq!(h.ack("a", &acks(10, 13, &[1, 3, 0, 1])), Ok([1, 2, 0, 1]));
    assert_eq!(shown(&h.partition), "[14-19a1 20-24+1] 14..25");
    assert_eq!(h.ack("a", &acks(14, 19, &[1])), Ok([0, 6, 0, 0]));
    assert_eq!(shown(&h.partition), "[] 25..25");
}

#[test]
fn what_is_released_comes_again_until_it_was_delivered_too_often() {
    let mut h = Harness::new(0);
    for deliveries in 1..=3 {
        assert_eq!(h.acquire("a", &[readable(0, 4)]), [(0, 4, deliveries)]);
        assert_eq!(h.ack("a", &acks(0, 4, &[2])), Ok([0, 0, 5, 0]));
    }
    assert_eq!(shown(&h.partition), "[] 5..5", "the third delivery was the last");
}

#[test]
fn a_lock_that_times_out_gives_the_records_to_others_and_its_member_is_told() {
    let mut h = Harness::new(0);
    h.acquire("a", &[readable(0, 4)]);
    h.now = 500;
    h.acquire("b", &[readable(5, 9)]);
    assert_eq!(h.partition.next_deadline(), Some(Timestamp(1_000)));
    assert_eq!(h.partition.tick(Timestamp(999), &TERMS), 0);
    assert_eq!(h.partition.tick(Timestamp(1_000), &TERMS), 5);
    assert_eq!(shown(&h.partition), "[0-4A1 5-9b1] 0..10");
    assert_eq!(h.partition.next_fetch(&TERMS), Some(0));
    assert_eq!(h.ack("a", &acks(0, 4, &[1])), Err(AckError::NotOwner { offset: 0 }));
    assert_eq!(h.acquire("b", &[readable(0, 4), readable(5, 9), readable(10, 10)]), [(0, 4, 2), (10, 10, 1)]);
}

#[test]
fn a_session_that_is_closed_takes_its_deliveries_back_and_one_that_ends_does_not() {
    let mut h = Harness::new(0);
    h.acquire("a", &[readable(0, 4)]);
    assert_eq!(h.partition.release("a"), 5);
    assert_eq!(shown(&h.partition), "[0-4A0] 0..5");
    for deliveries in 1..=3 {
        assert_eq!(h.acquire("a", &[readable(0, 4)]), [(0, 4, deliveries)]);
        assert_eq!(h.partition.abandon("b", &TERMS), 0);
        assert_eq!(h.partition.abandon("a", &TERMS), 5);
    }
    assert_eq!(shown(&h.partition), "[] 5..5", "records that end everybody who gets them are given up");
}

#[test]
fn offsets_that_hold_no_records_for_consumers_are_passed_over() {
    let mut h = Harness::new(0);
    // Compaction took 0-4 and 8-9, and 10 is a marker.
    assert_eq!(h.acquire("a", &[readable(5, 7), marker(10), readable(11, 12)]), [(5, 7, 1), (11, 12, 1)]);
    assert_eq!(shown(&h.partition), "[5-7a1 8-10-0 11-12a1] 5..13");
    assert_eq!(h.partition.delivery_complete(), 3);
    h.partition.release("a");
    // Compaction took 6 and 7 meanwhile.
    assert_eq!(h.acquire("b", &[readable(5, 5), marker(10), readable(11, 12)]), [(5, 5, 1), (11, 12, 1)]);
    assert_eq!(shown(&h.partition), "[5-5b1 6-10-0 11-12b1] 5..13");
}

#[test]
fn no_more_is_in_flight_than_may_be_and_batches_are_given_out_whole_where_they_fit() {
    let mut h = Harness::new(0);
    let terms = Terms { max_in_flight: 10, ..TERMS };
    let wish = Wish { max_records: 3, batch_size: 2 };
    let log = [readable(0, 3), readable(4, 7), readable(8, 11)];
    assert_eq!(h.acquire_wish("a", wish, terms, &log), [(0, 3, 1)], "the rest of the batch goes with it");
    assert_eq!(h.acquire_wish("a", Wish { max_records: 5, ..wish }, terms, &log[1..]), [(4, 7, 1), (8, 9, 1)]);
    assert_eq!(h.partition.next_fetch(&terms), None);
    assert_eq!(h.ack("a", &acks(4, 9, &[1])), Ok([0, 6, 0, 0]));
    assert_eq!(h.partition.next_fetch(&terms), None, "the first ones are still out");
    h.ack("a", &acks(0, 3, &[1])).unwrap();
    assert_eq!(h.acquire_wish("a", wish, terms, &log[2..]), [(10, 11, 1)]);
}

#[test]
fn acknowledgements_that_lie_change_nothing() {
    let mut h = Harness::new(0);
    h.acquire("a", &[readable(0, 9)]);
    h.acquire("b", &[readable(10, 19)]);
    let before = h.partition.clone();
    let malformed = |result: Result<[i64; 4], AckError>| matches!(result, Err(AckError::Malformed { .. }));
    assert!(malformed(h.ack("a", &acks(5, 4, &[1]))));
    assert!(malformed(h.ack("a", &acks(0, 4, &[]))));
    assert!(malformed(h.ack("a", &acks(0, 4, &[1, 1]))));
    assert!(malformed(h.ack("a", &acks(i64::MIN, i64::MAX, &[1, 1]))));
    assert!(malformed(h.ack("a", &acks(0, 4, &[4]))), "renewals are of a later version");
    assert!(malformed(h.ack("a", &acks(0, 1, &[1, -1]))));
    let backwards = [acks(5, 6, &[1]), acks(0, 4, &[1])].concat();
    assert!(malformed(h.ack("a", &backwards)));
    let twice = [acks(0, 4, &[1]), acks(4, 6, &[1])].concat();
    assert_eq!(h.ack("a", &twice), Err(AckError::NotOwner { offset: 4 }));
    let of_another = [acks(0, 4, &[1]), acks(8, 12, &[1])].concat();
    assert_eq!(h.ack("a", &of_another), Err(AckError::NotOwner { offset: 10 }));
    assert_eq!(h.ack("a", &acks(0, i64::MAX, &[1])), Err(AckError::NeverAcquired { last: i64::MAX, next: 20 }));
    assert_eq!(h.ack("a", &acks(20, 20, &[1])), Err(AckError::NeverAcquired { last: 20, next: 20 }));
    assert_eq!(h.partition, before);
}

#[test]
fn what_the_log_has_lost_is_neither_delivered_nor_an_error() {
    let mut h = Harness::new(0);
    h.acquire("a", &[readable(0, 9)]);
    h.partition.log_starts_at(5);
    assert_eq!(shown(&h.partition), "[5-9a1] 5..10");
    assert_eq!(h.ack("a", &acks(0, 3, &[1])), Ok([0; 4]));
    assert_eq!(h.ack("a", &acks(2, 6, &[1, 1, 1, 1, 2])), Ok([0, 1, 1, 0]));
    h.partition.log_starts_at(50);
    assert_eq!(shown(&h.partition), "[] 50..50");
}

#[test]
fn offsets_that_are_set_from_outside_hold_whatever_was() {
    let mut h = Harness::new(5);
    h.acquire("a", &[readable(5, 9)]);
    let revision = h.partition.revision();
    h.partition.reset(2);
    assert_eq!((shown(&h.partition).as_str(), h.partition.state_epoch()), ("[] 2..2", 1));
    assert!(h.partition.revision() > revision);
    assert_eq!(h.ack("a", &acks(5, 9, &[1])), Err(AckError::NeverAcquired { last: 9, next: 2 }));
}

#[test]
fn what_is_stored_comes_back_with_acquired_records_available() {
    let mut h = Harness::new(0);
    h.acquire("a", &[readable(0, 9)]);
    h.ack("a", &acks(3, 6, &[1, 1, 2, 3])).unwrap();
    h.acquire("b", &[readable(0, 9)]);
    assert_eq!(shown(&h.partition), "[0-2a1 3-4+1 5-5b2 6-6-1 7-9a1] 0..10");
    let restored = SharePartition::restore(&h.partition.stored()).unwrap();
    assert_eq!(shown(&restored), "[0-2A0 3-4+1 5-5A1 6-6-1] 0..7", "7 to 9 are as if they had never been given out");
    assert_eq!(restored.stored().batches, h.partition.stored().batches);
    assert_eq!(SharePartition::restore(&StoredPartition::default()), None);
}

#[test]
fn stored_states_that_contradict_themselves_lose_nothing() {
    let batch = |first, last, state| StateBatch { first, last, state, deliveries: 1 };
    let stored = StoredPartition {
        start: Some(10),
        batches: vec![batch(0, 11, 2), batch(11, 13, 2), batch(20, 15, 2), batch(16, i64::MAX, 2), batch(15, 16, 9)],
        ..StoredPartition::default()
    };
    assert_eq!(shown(&SharePartition::restore(&stored).unwrap()), "[] 14..14");
}

/// One offset of the model: its state, and how often it was delivered.
type Fate = (RecordState, i16);

/// What a share partition is, offset by offset.
#[derive(Default)]
struct Model {
    start: i64,
    fates: BTreeMap<i64, Fate>,
    /// Accepted or rejected: never to be delivered again.
    done: std::collections::BTreeSet<i64>,
}

#[derive(Debug, Clone)]
enum Event {
    Acquire { member: u8, batches: u8, size: i64, max_records: i64 },
    Ack { member: u8, from: i64, types: Vec<i8> },
    Release { member: u8 },
    Abandon { member: u8 },
    Wait { ms: i64 },
    LogStarts { by: i64 },
    Restart,
}

fn events() -> impl Strategy<Value = Event> {
    let member = 0u8..3;
    prop_oneof![
        4 => (member.clone(), 1u8..4, 1i64..6, 1i64..9)
            .prop_map(|(member, batches, size, max_records)| Event::Acquire { member, batches, size, max_records }),
        4 => (member.clone(), 0i64..12, prop::collection::vec(0i8..4, 1..6))
            .prop_map(|(member, from, types)| Event::Ack { member, from, types }),
        1 => member.clone().prop_map(|member| Event::Release { member }),
        1 => member.prop_map(|member| Event::Abandon { member }),
        2 => (0i64..700).prop_map(|ms| Event::Wait { ms }),
        1 => (0i64..4).prop_map(|by| Event::LogStarts { by }),
        1 => Just(Event::Restart),
    ]
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Model {
    fn set(&mut self, offset: i64, state: RecordState) {
        if let Some(fate) = self.fates.get_mut(&offset) {
            fate.0 = state;
        }
    }

    fn give_back(&mut self, offset: i64) {
        let deliveries = self.fates[&offset].1;
        let state = if deliveries >= TERMS.max_deliveries { RecordState::Archived } else { RecordState::Available };
        self.set(offset, state);
    }

    fn of(&self, which: impl Fn(&RecordState) -> bool) -> Vec<i64> {
        self.fates.iter().filter(|(_, (state, _))| which(state)).map(|(offset, _)| *offset).collect()
    }

    fn advance(&mut self) {
        while self.fates.first_key_value().is_some_and(|(_, (state, _))| state.is_done()) {
            self.start = self.fates.pop_first().unwrap().0 + 1;
        }
    }
}

fn is_of(state: &RecordState, of: &str) -> bool {
    matches!(state, RecordState::Acquired { member, .. } if **member == *of)
}

fn run_history(history: Vec<Event>) -> Result<(), TestCaseError> {
    let terms = Terms { max_in_flight: 15, ..TERMS };
    let (mut partition, mut model, mut now) = (SharePartition::new(0, 0), Model::default(), 0);
    for event in history {
        match event {
            Event::Acquire { member, batches, size, max_records } => {
                let Some(from) = partition.next_fetch(&terms) else { continue };
                // The log has a batch of `size` records every `size` offsets, and every fifth batch is a marker.
                let first = from - from.rem_euclid(size);
                let fetched: Vec<FetchedBatch> = (0..i64::from(batches))
                    .map(|n| first + n * size)
                    .map(|at| FetchedBatch { first: at, last: at + size - 1, readable: (at / size) % 5 != 4 })
                    .collect();
                let name = NAMES[member as usize];
                let wish = Wish { max_records, batch_size: 2 };
                let got = partition.acquire(Timestamp(now), &Arc::from(name), &terms, wish, from, &fetched);
                let deadline = Timestamp(now + terms.lock_ms);
                for acquired in &got {
                    for offset in acquired.first..=acquired.last {
                        prop_assert!(!model.done.contains(&offset), "{} was done with", offset);
                        let before = model.fates.get(&offset).cloned().unwrap_or((RecordState::Available, 0));
                        prop_assert_eq!(&before.0, &RecordState::Available, "{} was somebody's", offset);
                        prop_assert_eq!(before.1 + 1, acquired.deliveries);
                        let state = RecordState::Acquired { member: Arc::from(name), deadline };
                        model.fates.insert(offset, (state, acquired.deliveries));
                    }
                }
                // What was passed over: markers only.
                for offset in model.start..partition.next() {
                    let marker = fetched.iter().any(|b| !b.readable && (b.first..=b.last).contains(&offset));
                    let fate = model.fates.entry(offset).or_insert_with(|| {
                        assert!(marker, "{offset} was passed over");
                        (RecordState::Archived, 0)
                    });
                    let known = partition.runs().find(|(first, run)| (*first..=run.last).contains(&offset));
                    let archived = known.is_none_or(|(_, run)| run.state == RecordState::Archived);
                    if marker && archived && fate.0 == RecordState::Available {
                        fate.0 = RecordState::Archived;
                    }
                }
            }
            Event::Ack { member, from, types } => {
                let (name, first) = (NAMES[member as usize], model.start + from);
                let last = first + types.len() as i64 - 1;
                let mine = (first..=last).all(|o| model.fates.get(&o).is_some_and(|(state, _)| is_of(state, name)));
                let outcome = partition.acknowledge(name, &acks(first, last, &types), &terms);
                prop_assert_eq!(outcome.is_ok(), mine, "{:?}", outcome);
                for (offset, kind) in (first..=last).zip(types).filter(|_| mine) {
                    match AckType::of(kind).unwrap() {
                        AckType::Accept => model.set(offset, RecordState::Acknowledged),
                        AckType::Gap | AckType::Reject => model.set(offset, RecordState::Archived),
                        AckType::Release => model.give_back(offset),
                    }
                    if kind != AckType::Release as i8 {
                        model.done.insert(offset);
                    }
                }
            }
            Event::Release { member } => {
                let name = NAMES[member as usize];
                partition.release(name);
                for offset in model.of(|state| is_of(state, name)) {
                    model.set(offset, RecordState::Available);
                    model.fates.get_mut(&offset).unwrap().1 -= 1;
                }
            }
            Event::Abandon { member } => {
                let name = NAMES[member as usize];
                partition.abandon(name, &terms);
                model.of(|state| is_of(state, name)).into_iter().for_each(|offset| model.give_back(offset));
            }
            Event::Wait { ms } => {
                now += ms;
                partition.tick(Timestamp(now), &terms);
                let over = |s: &RecordState| matches!(s, RecordState::Acquired { deadline, .. } if *deadline <= Timestamp(now));
                model.of(over).into_iter().for_each(|offset| model.give_back(offset));
                prop_assert!(partition.next_deadline().is_none_or(|at| at > Timestamp(now)));
            }
            Event::LogStarts { by } => {
                let start = model.start + by;
                partition.log_starts_at(start);
                model.fates = model.fates.split_off(&start);
                model.start = start;
            }
            Event::Restart => {
                let revision = partition.revision();
                partition = SharePartition::restore(&partition.stored()).unwrap();
                prop_assert!(partition.revision() <= revision);
                for offset in model.of(|state| matches!(state, RecordState::Acquired { .. })) {
                    model.set(offset, RecordState::Available);
                    model.fates.get_mut(&offset).unwrap().1 -= 1;
                }
                // What was never delivered is not known any more at the end.
                while model.fates.last_key_value().is_some_and(|(_, fate)| *fate == (RecordState::Available, 0)) {
                    model.fates.pop_last();
                }
            }
        }
        model.advance();
        let fates: Vec<(i64, Fate)> = partition
            .runs()
            .flat_map(|(first, run)| (first..=run.last).map(move |o| (o, (run.state.clone(), run.deliveries))))
            .collect();
        prop_assert_eq!(fates, model.fates.clone().into_iter().collect::<Vec<_>>());
        prop_assert_eq!(partition.start(), model.start);
        prop_assert!(partition.in_flight() <= terms.max_in_flight + 30);
        let runs: Vec<&Run> = partition.runs().map(|(_, run)| run).collect();
        prop_assert!(
            runs.windows(2).all(|w| w[0].state != w[1].state || w[0].deliveries != w[1].deliveries),
            "neighbours of one fate are one run"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_events_leave_what_the_model_says_and_nothing_that_is_done_with_comes_again(
        history in prop::collection::vec(events(), 1..60),
    ) {
        run_history(history)?;
    }
}
