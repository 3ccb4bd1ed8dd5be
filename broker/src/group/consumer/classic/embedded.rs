//! The consumer protocol embedded in classic groups: subscriptions that members send, assignments that they get
//! (ConsumerProtocolSubscription and ConsumerProtocolAssignment, versions 0-3).
use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::by_name;
use crate::group::consumer::TopicPartition;
use crate::topics::TopicImage;

/// Partitions by topic name.
pub type Named = Vec<(String, Vec<i32>)>;

/// What a member wants and has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscription {
    pub version: i16,
    pub topics: Vec<String>,
    /// By topic name; none before version 1.
    pub owned: Named,
    pub rack_id: Option<String>,
}

struct Reader(Bytes);

impl Reader {
    fn i16(&mut self) -> Option<i16> {
        (self.0.remaining() >= 2).then(|| self.0.get_i16())
    }

    fn i32(&mut self) -> Option<i32> {
        (self.0.remaining() >= 4).then(|| self.0.get_i32())
    }

    fn take(&mut self, length: usize) -> Option<Bytes> {
        (self.0.remaining() >= length).then(|| self.0.split_to(length))
    }

    fn string(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()?).ok()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    /// Bytes that may be null.
    fn blob(&mut self) -> Option<Option<Bytes>> {
        match self.i32()? {
            -1 => Some(None),
            length => self.take(usize::try_from(length).ok()?).map(Some),
        }
    }

    /// Each element takes at least two bytes, so nothing is reserved that the bytes do not back.
    fn array<T>(&mut self, mut element: impl FnMut(&mut Reader) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.i32()?).ok()?;
        let mut found = Vec::new();
        for _ in 0..count {
            found.push(element(self)?);
        }
        Some(found)
    }

    fn partitions(&mut self) -> Option<Named> {
        self.array(|r| Some((r.string()?, r.array(Reader::i32)?)))
    }
}

impl Subscription {
    /// `None`: these bytes are no subscription. Fields of versions to come are passed over.
    pub fn read(bytes: &Bytes) -> Option<Subscription> {
        let mut reader = Reader(bytes.clone());
        let version = reader.i16()?;
        let topics = reader.array(Reader::string)?;
        let mut found = Subscription { version, topics, ..Subscription::default() };
        reader.blob()?;
        if version >= 1 {
            found.owned = reader.partitions()?;
        }
        if version >= 2 {
            reader.i32()?;
        }
        if version >= 3 {
            found.rack_id = match reader.i16()? {
                -1 => None,
                length => Some(String::from_utf8(reader.take(usize::try_from(length).ok()?)?.to_vec()).ok()?),
            };
        }
        Some(found)
    }

    pub(super) fn owned_ids(&self, topics: &TopicImage) -> BTreeSet<TopicPartition> {
        let known = self.owned.iter().filter_map(|(name, partitions)| Some((topics.get(name)?.0, partitions)));
        known.flat_map(|(id, partitions)| partitions.iter().map(move |p| (id, *p))).collect()
    }
}

/// An assignment as a leader computed it: partitions by topic name, and whether it carries an assignor's own data.
pub(in crate::group::consumer) fn read_assignment(bytes: &Bytes) -> Option<(Named, bool)> {
    if bytes.is_empty() {
        return Some((Vec::new(), false));
    }
    let mut reader = Reader(bytes.clone());
    reader.i16()?;
    let partitions = reader.partitions()?;
    let has_data = reader.blob()?.is_some_and(|data| !data.is_empty());
    Some((partitions, has_data))
}

/// What a member owns, in the version of its subscription.
pub fn assignment<'a>(
    subscription: &Bytes,
    partitions: impl Iterator<Item = &'a TopicPartition>,
    topics: &TopicImage,
) -> Bytes {
    let version = if subscription.len() >= 2 { subscription.slice(..2).get_i16() } else { 0 };
    let named = by_name(partitions, topics);
    let mut out = BytesMut::new();
    out.put_i16(version.clamp(0, 3));
    out.put_i32(named.len() as i32);
    for (name, partitions) in named {
        // Names of topics have at most 249 characters.
        out.put_i16(name.len() as i16);
        out.put_slice(name.as_bytes());
        out.put_i32(partitions.len() as i32);
        partitions.into_iter().for_each(|partition| out.put_i32(partition));
    }
    out.put_i32(-1);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 3 subscription to "t", owning t-1, of rack "r".
    const BYTES: &[u8] =
        b"\0\x03\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x01\0\0\0\x07\0\x01r";

    #[test]
    fn subscriptions_of_all_versions_are_read_and_cut_off_ones_are_none() {
        let bytes = Bytes::from_static(BYTES);
        let read = Subscription::read(&bytes).unwrap();
        assert_eq!((read.topics, read.owned), (vec!["t".to_owned()], vec![("t".to_owned(), vec![1])]));
        assert_eq!(read.rack_id.as_deref(), Some("r"));
        for cut in 0..bytes.len() {
            assert_eq!(Subscription::read(&bytes.slice(..cut)), None, "cut at {cut}");
        }
        let old = Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff");
        assert_eq!(Subscription::read(&old).unwrap().topics, ["t"]);
        let hostile = Bytes::from_static(b"\0\0\x7f\xff\xff\xff\0\x01t");
        assert_eq!(Subscription::read(&hostile), None);
    }

    #[test]
    fn assignments_are_read_as_they_are_written() {
        let id = weir_protocol::ids::TopicId(uuid::Uuid::from_u128(7));
        let topics = TopicImage::new(1, [("t".to_owned(), id, 4)]);
        let bytes = assignment(&Bytes::from_static(BYTES), [(id, 1), (id, 3)].iter(), &topics);
        assert_eq!(bytes[..2], [0, 3]);
        assert_eq!(read_assignment(&bytes), Some((vec![("t".to_owned(), vec![1, 3])], false)));
        assert_eq!(read_assignment(&Bytes::new()), Some((Vec::new(), false)));
    }
}
