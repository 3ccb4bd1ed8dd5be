//! What members say of the records that they have.
use super::{AckError, RecordState, Run, SharePartition, Terms};

/// What a member says of a record; the numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AckType {
    /// There is no record at this offset.
    Gap = 0,
    Accept = 1,
    /// Another member, or this one, is to have it again.
    Release = 2,
    /// Nobody is to have it again.
    Reject = 3,
}

impl AckType {
    pub const ALL: [AckType; 4] = [AckType::Gap, AckType::Accept, AckType::Release, AckType::Reject];

    /// `None`: no such type, or one of a later version.
    pub fn of(number: i8) -> Option<AckType> {
        AckType::ALL.into_iter().find(|kind| *kind as i8 == number)
    }

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            AckType::Gap => "gap",
            AckType::Accept => "accept",
            AckType::Release => "release",
            AckType::Reject => "reject",
        }
    }
}

/// Consecutive offsets that a member acknowledges: with one type for all of them, or one for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckBatch {
    pub first: i64,
    pub last: i64,
    pub types: Vec<i8>,
}

/// Offsets with one type.
struct Piece {
    first: i64,
    last: i64,
    kind: AckType,
}

impl AckBatch {
    fn pieces(&self) -> Result<Vec<Piece>, AckError> {
        let malformed = |why| AckError::Malformed { first: self.first, last: self.last, why };
        if self.first > self.last {
            return Err(malformed("it ends before it begins"));
        }
        let kind =
            |number: &i8| AckType::of(*number).ok_or_else(|| malformed("it has an acknowledge type that is none"));
        match self.types.as_slice() {
            [] => Err(malformed("it has no acknowledge types")),
            [one] => Ok(vec![Piece { first: self.first, last: self.last, kind: kind(one)? }]),
            many => {
                // Written without overflow: both ends are the client's.
                let wanted = i128::from(self.last) - i128::from(self.first) + 1;
                if wanted != many.len() as i128 {
                    return Err(malformed("it has neither one acknowledge type nor one for each offset"));
                }
                let mut pieces: Vec<Piece> = Vec::new();
                for (offset, number) in (self.first..).zip(many) {
                    let kind = kind(number)?;
                    match pieces.last_mut() {
                        Some(piece) if piece.kind == kind => piece.last = offset,
                        _ => pieces.push(Piece { first: offset, last: offset, kind }),
                    }
                }
                Ok(pieces)
            }
        }
    }
}

impl SharePartition {
    /// Applies all of it, or nothing. What the log has lost meanwhile is passed over, as in Kafka. Returns how many records
    /// each type was said of, in the order of [`AckType::ALL`].
    pub fn acknowledge(&mut self, member: &str, batches: &[AckBatch], terms: &Terms) -> Result<[i64; 4], AckError> {
        let mut pieces = Vec::new();
        let mut end = None;
        for batch in batches {
            let these = batch.pieces()?;
            if end.is_some_and(|end| batch.first < end) {
                let why = "it begins before the one before it ends";
                return Err(AckError::Malformed { first: batch.first, last: batch.last, why });
            }
            // As in Kafka: offsets that are named twice are done with when they are met again.
            if end == Some(batch.first) {
                return Err(AckError::NotOwner { offset: batch.first });
            }
            end = Some(batch.last);
            pieces.extend(these);
        }
        pieces.retain(|piece| piece.last >= self.start);
        for piece in &mut pieces {
            piece.first = piece.first.max(self.start);
            self.check_owner(member, piece)?;
        }
        let mut counts = [0; 4];
        for Piece { first, last, kind } in &pieces {
            counts[*kind as usize] += last - first + 1;
            self.update(*first, *last, |run| run.apply(*kind, terms.max_deliveries));
        }
        if !pieces.is_empty() {
            self.changed();
        }
        Ok(counts)
    }

    fn check_owner(&self, member: &str, piece: &Piece) -> Result<(), AckError> {
        if piece.last >= self.next {
            return Err(AckError::NeverAcquired { last: piece.last, next: self.next });
        }
        // The runs have no holes, so the first one is found.
        let begins = self.runs.range(..=piece.first).next_back().map_or(piece.first, |(at, _)| *at);
        let mut of_others = self.runs.range(begins..=piece.last).filter(|(_, run)| !run.is_of(member));
        match of_others.next() {
            Some((first, _)) => Err(AckError::NotOwner { offset: (*first).max(piece.first) }),
            None => Ok(()),
        }
    }
}

impl Run {
    fn apply(&mut self, kind: AckType, max_deliveries: i16) {
        match kind {
            AckType::Accept => self.state = RecordState::Acknowledged,
            AckType::Gap | AckType::Reject => self.state = RecordState::Archived,
            AckType::Release => self.give_back(max_deliveries),
        }
    }
}
