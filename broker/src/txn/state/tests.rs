//! Event tables: what a transactional id answers in each state.
use super::*;

const NOW: Timestamp = Timestamp(1_000);
const TIMEOUT_MS: i32 = 60_000;

fn who(id: i64, epoch: i16) -> Who {
    Who { producer_id: ProducerId(id), epoch: ProducerEpoch(epoch) }
}

fn parts(names: &[i32]) -> Vec<PartitionName> {
    names.iter().map(|partition| ("t".to_owned(), *partition)).collect()
}

/// The step, made durable at once.
fn durable(txn: &mut Transaction, step: Result<Step, TxnError>) -> Result<Step, TxnError> {
    if matches!(step, Ok(Step::Write | Step::WriteThenAgain)) {
        txn.written(true);
    }
    step
}

fn started(id: i64) -> Transaction {
    let mut txn = Transaction::new(ProducerId(id), NOW);
    let step = txn.init(NOW, TIMEOUT_MS, None, None);
    assert_eq!(durable(&mut txn, step), Ok(Step::Write));
    txn
}

fn at(phase: Phase, protocol: Protocol) -> Transaction {
    let mut txn = started(7);
    if phase == Phase::Empty {
        return txn;
    }
    let step = txn.add_partitions(NOW, who(7, 0), protocol, &parts(&[0]));
    assert_eq!(durable(&mut txn, step), Ok(Step::Write));
    if phase == Phase::Ongoing {
        return txn;
    }
    let commit = matches!(phase, Phase::PrepareCommit | Phase::CompleteCommit);
    let step = txn.end(NOW, who(7, 0), commit, protocol, None);
    assert_eq!(durable(&mut txn, step), Ok(Step::Write));
    if phase.is_complete() {
        assert!(txn.complete(NOW));
        txn.written(true);
    }
    assert_eq!(txn.current().phase, phase);
    txn
}

#[test]
fn an_end_is_answered_by_the_state_as_kafka_does() {
    use Phase::*;
    use Protocol::*;
    let invalid = |phase: Phase| Err(TxnError::InvalidTxnState { phase: phase.name() });
    let concurrent = || Err(TxnError::ConcurrentTransactions);
    let early = |phase: Phase| Err(TxnError::NothingToCommit { phase: phase.name() });
    let fenced = || Err(TxnError::ProducerFenced);
    // (state, protocol, commit, epoch of the client) -> answer
    let table = [
        (Empty, V1, true, 0, invalid(Empty)),
        (Empty, V1, false, 0, invalid(Empty)),
        (Empty, V2, true, 0, early(Empty)),
        (Empty, V2, false, 0, Ok(Step::Write)),
        (Ongoing, V1, true, 0, Ok(Step::Write)),
        (Ongoing, V2, false, 0, Ok(Step::Write)),
        (Ongoing, V1, true, 1, fenced()),
        (PrepareCommit, V1, true, 0, concurrent()),
        (PrepareCommit, V1, false, 0, invalid(PrepareCommit)),
        (PrepareCommit, V2, true, 0, concurrent()),
        (PrepareCommit, V2, true, 1, concurrent()),
        (PrepareAbort, V2, true, 0, invalid(PrepareAbort)),
        (CompleteCommit, V1, true, 0, Ok(Step::Settled(who(7, 0)))),
        (CompleteCommit, V1, false, 0, invalid(CompleteCommit)),
        (CompleteCommit, V2, true, 0, Ok(Step::Settled(who(7, 1)))),
        (CompleteCommit, V2, false, 0, invalid(CompleteCommit)),
        (CompleteCommit, V2, true, 1, early(CompleteCommit)),
        (CompleteCommit, V2, false, 1, Ok(Step::Write)),
        (CompleteAbort, V2, false, 0, Ok(Step::Settled(who(7, 1)))),
        (CompleteAbort, V2, true, 0, invalid(CompleteAbort)),
        (CompleteAbort, V2, true, 1, early(CompleteAbort)),
        (CompleteAbort, V2, false, 1, Ok(Step::Write)),
    ];
    for (phase, protocol, commit, epoch, expected) in table {
        let mut txn = at(phase, protocol);
        let got = txn.end(NOW, who(7, epoch), commit, protocol, None);
        assert_eq!(got, expected, "{phase:?} {protocol:?} commit={commit} epoch {epoch}");
    }
    assert_eq!(started(7).end(NOW, who(8, 0), true, Protocol::V1, None), Err(TxnError::InvalidProducerIdMapping));
}

#[test]
fn a_commit_that_overtook_its_records_is_told_to_retry_once() {
    for phase in [Phase::Empty, Phase::CompleteCommit, Phase::CompleteAbort] {
        let mut txn = at(phase, Protocol::V2);
        let me = txn.current().who();
        let early = Err(TxnError::NothingToCommit { phase: phase.name() });
        assert_eq!(txn.end(NOW, me, true, Protocol::V2, None), early);
        // The records come, and the commit again.
        let step = txn.add_partitions(NOW, me, Protocol::V2, &parts(&[0]));
        assert_eq!(durable(&mut txn, step), Ok(Step::Write));
        let step = txn.end(NOW, me, true, Protocol::V2, None);
        assert_eq!(durable(&mut txn, step), Ok(Step::Write), "{phase:?}");
        txn.complete(NOW);
        txn.written(true);

        // Nothing comes: a client that commits empty transactions does not try for ever.
        let me = txn.current().who();
        let early = Err(TxnError::NothingToCommit { phase: "CompleteCommit" });
        assert_eq!(txn.end(NOW, me, true, Protocol::V2, None), early);
        let refused = Err(TxnError::InvalidTxnState { phase: "CompleteCommit" });
        assert_eq!(txn.end(NOW, me, true, Protocol::V2, None), refused);
        assert_eq!(txn.end(NOW, me, true, Protocol::V2, None), refused);
    }
}

#[test]
fn partitions_are_added_in_every_state_that_is_not_being_decided() {
    use Phase::*;
    for (phase, expected) in [
        (Empty, Ok(Step::Write)),
        (Ongoing, Ok(Step::Settled(who(7, 0)))),
        (PrepareCommit, Err(TxnError::ConcurrentTransactions)),
        (PrepareAbort, Err(TxnError::ConcurrentTransactions)),
        (CompleteCommit, Ok(Step::Write)),
        (CompleteAbort, Ok(Step::Write)),
    ] {
        let mut txn = at(phase, Protocol::V1);
        assert_eq!(txn.add_partitions(NOW, who(7, 0), Protocol::V1, &parts(&[0])), expected, "{phase:?}");
    }
    let mut txn = at(Ongoing, Protocol::V1);
    assert_eq!(txn.verify(who(7, 0), &parts(&[0, 1])), Ok(vec![true, false]));
    assert_eq!(txn.add_partitions(NOW, who(7, 0), Protocol::V1, &parts(&[0, 1])), Ok(Step::Write));
    assert_eq!(
        txn.add_partitions(NOW, who(7, 0), Protocol::V1, &parts(&[2])),
        Err(TxnError::ConcurrentTransactions),
        "one change at a time"
    );
    txn.written(false);
    assert_eq!(txn.current().partitions.len(), 1, "what was not written did not happen");
    assert_eq!(txn.add_partitions(NOW, who(7, 1), Protocol::V1, &parts(&[1])), Err(TxnError::ProducerFenced));
    assert_eq!(txn.add_partitions(NOW, who(8, 0), Protocol::V1, &parts(&[1])), Err(TxnError::InvalidProducerIdMapping));
}

#[test]
fn a_new_producer_aborts_the_open_transaction_under_an_epoch_of_nobody() {
    let mut txn = at(Phase::Ongoing, Protocol::V1);
    let step = txn.init(NOW, TIMEOUT_MS, None, None);
    assert_eq!(durable(&mut txn, step), Ok(Step::WriteThenAgain));
    assert_eq!((txn.current().phase, txn.current().who()), (Phase::PrepareAbort, who(7, 1)));
    assert_eq!(txn.init(NOW, TIMEOUT_MS, None, None), Err(TxnError::ConcurrentTransactions));
    txn.complete(NOW);
    txn.written(true);
    let step = txn.init(NOW, TIMEOUT_MS, None, None);
    assert_eq!(durable(&mut txn, step), Ok(Step::Write));
    assert_eq!((txn.current().phase, txn.current().who()), (Phase::Empty, who(7, 2)));
    for protocol in [Protocol::V1, Protocol::V2] {
        assert_eq!(txn.end(NOW, who(7, 0), false, protocol, None), Err(TxnError::ProducerFenced));
    }
}

#[test]
fn a_timed_out_transaction_is_aborted_and_its_producer_fenced() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let mut txn = at(Phase::Ongoing, protocol);
        assert!(!txn.expire(Timestamp(NOW.0 + i64::from(TIMEOUT_MS) - 1)));
        assert!(txn.expire(Timestamp(NOW.0 + i64::from(TIMEOUT_MS))));
        txn.written(true);
        for _ in 0..2 {
            // While it is being aborted, and after.
            for commit in [true, false] {
                assert_eq!(txn.end(NOW, who(7, 0), commit, protocol, None), Err(TxnError::ProducerFenced));
            }
            txn.complete(NOW);
            txn.written(true);
        }
        assert_eq!(txn.current().phase, Phase::CompleteAbort);
    }
}

/// KIP-360.
#[test]
fn a_recovering_producer_keeps_the_id_unless_somebody_took_over() {
    let mut txn = at(Phase::CompleteAbort, Protocol::V1);
    let step = txn.init(NOW, TIMEOUT_MS, Some(who(7, 0)), None);
    assert_eq!(durable(&mut txn, step), Ok(Step::Write));
    assert_eq!(txn.current().who(), who(7, 1));
    assert_eq!(txn.init(NOW, TIMEOUT_MS, Some(who(7, 0)), None), Ok(Step::Settled(who(7, 1))), "a retry");
    let step = txn.init(NOW, TIMEOUT_MS, None, None);
    assert_eq!(durable(&mut txn, step), Ok(Step::Write));
    for stale in [who(7, 0), who(7, 1), who(8, 2)] {
        assert_eq!(txn.init(NOW, TIMEOUT_MS, Some(stale), None), Err(TxnError::ProducerFenced), "{stale:?}");
    }
}

fn with_epoch(epoch: i16, phase: Phase) -> Transaction {
    let mut snapshot = at(phase, Protocol::V2).current().clone();
    snapshot.epoch = ProducerEpoch(epoch);
    snapshot.last_epoch = None;
    Transaction::restore(snapshot)
}

#[test]
fn used_up_epochs_lead_to_a_new_producer_id() {
    let last = i16::MAX - 1;
    let mut txn = with_epoch(last, Phase::Empty);
    assert_eq!(txn.init(NOW, TIMEOUT_MS, None, None), Ok(Step::NeedProducerId));
    let step = txn.init(NOW, TIMEOUT_MS, Some(who(7, last)), Some(ProducerId(9)));
    assert_eq!(durable(&mut txn, step), Ok(Step::Write));
    assert_eq!(txn.current().who(), who(9, 0));
    let retry = txn.init(NOW, TIMEOUT_MS, Some(who(7, last)), None);
    assert_eq!(retry, Ok(Step::Settled(who(9, 0))));

    let mut txn = with_epoch(last, Phase::Ongoing);
    assert_eq!(txn.end(NOW, who(7, last), true, Protocol::V2, None), Ok(Step::NeedProducerId));
    let step = txn.end(NOW, who(7, last), true, Protocol::V2, Some(ProducerId(9)));
    assert_eq!(txn.identity_after_end(), who(9, 0));
    assert_eq!(durable(&mut txn, step), Ok(Step::Write));
    assert_eq!(txn.current().who(), who(7, i16::MAX), "the markers still carry the old id");
    txn.complete(NOW);
    txn.written(true);
    assert_eq!(txn.current().who(), who(9, 0));
    let retry = txn.end(NOW, who(7, last), true, Protocol::V2, None);
    assert_eq!(retry, Ok(Step::Settled(who(9, 0))));
}

#[test]
fn ids_are_forgotten_only_when_nothing_is_going_on() {
    for phase in [Phase::Empty, Phase::CompleteCommit, Phase::CompleteAbort] {
        let mut txn = at(phase, Protocol::V1);
        assert!(!txn.retire(Timestamp(NOW.0 + 99), 100));
        assert!(txn.retire(Timestamp(NOW.0 + 100), 100));
        txn.written(true);
        assert_eq!(txn.current().phase, Phase::Dead);
        assert_eq!(
            txn.add_partitions(NOW, who(7, 0), Protocol::V1, &parts(&[0])),
            Err(TxnError::InvalidProducerIdMapping)
        );
    }
    for phase in [Phase::Ongoing, Phase::PrepareCommit, Phase::PrepareAbort] {
        assert!(!at(phase, Protocol::V1).retire(Timestamp(i64::MAX), 100), "{phase:?}");
    }
}
