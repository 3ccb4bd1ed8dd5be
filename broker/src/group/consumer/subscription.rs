//! What members are subscribed to: names, regular expressions, and what both mean of the topics there are.
use std::collections::{BTreeMap, BTreeSet};

use regex::{Regex, RegexBuilder};
use weir_protocol::ids::{Timestamp, TopicId};

use super::assignor::{self, Input, Subscriber};
use super::{ConsumerGroup, Member, RecordKey, ResolvedRegex};
use crate::group::GroupError;
use crate::topics::TopicImage;

/// Bounds of a compiled expression: a client must not be able to have the broker build a huge automaton.
const REGEX_MAX_BYTES: usize = 1 << 20;
const REGEX_MAX_NESTING: u32 = 100;
/// Longest expression; Kafka's clients name at most topics of 249 characters.
const REGEX_MAX_LEN: usize = 16 << 10;

/// A regular expression that has to match whole topic names. Matching takes linear time, as with RE2.
pub(super) fn compile(pattern: &str) -> Result<Regex, GroupError> {
    let invalid = |detail: String| GroupError::InvalidRegularExpression { detail };
    if pattern.len() > REGEX_MAX_LEN {
        return Err(invalid(format!("it has {} bytes, {REGEX_MAX_LEN} are the most", pattern.len())));
    }
    // Compiled by itself first: `a)(b` must not become valid by what is put around it.
    let pattern = unquoted(pattern);
    let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_MAX_BYTES).nest_limit(REGEX_MAX_NESTING).build();
    build(&pattern).map_err(|e| invalid(e.to_string()))?;
    build(&format!("^(?:{pattern})$")).map_err(|e| invalid(e.to_string()))
}

/// RE2 takes what is between `\Q` and `\E` (or the end) literally, and so Java's `Pattern.quote` writes it; our crate has no
/// such syntax.
fn unquoted(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        if let Some(quoted) = escape.strip_prefix("\\Q") {
            let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex::escape(literal));
            rest = after;
            continue;
        }
        // The character after a backslash belongs to it: `\\Q` is a backslash and a Q.
        let end = escape.chars().take(2).map(char::len_utf8).sum();
        out.push_str(&escape[..end]);
        rest = &escape[end..];
    }
    out.push_str(rest);
    out
}

impl ConsumerGroup {
    /// Resolves expressions that are new, and all of them when topics have changed; forgets those nobody uses.
    pub(super) fn resolve_regexes(&mut self, now: Timestamp, topics: &TopicImage) {
        self.forget_unused_regexes();
        let used: BTreeSet<String> = self.members.values().filter_map(|m| m.regex.clone()).collect();
        let stale = self.topics_seen != Some(topics.version);
        for pattern in used {
            let known = self.regexes.get(&pattern);
            if known.is_some() && !stale {
                continue;
            }
            let matching = match compile(&pattern) {
                Ok(regex) => topics.names().filter(|name| regex.is_match(name)).map(str::to_owned).collect(),
                // Stored by a version that understood it: it means nothing here.
                Err(_) => BTreeSet::new(),
            };
            if known.is_none_or(|known| known.topics != matching) {
                self.dirty.insert(RecordKey::Regex(pattern.clone()));
                let resolved = ResolvedRegex { topics: matching, version: topics.version, resolved_at: now };
                self.regexes.insert(pattern, resolved);
            }
        }
    }

    pub(super) fn forget_unused_regexes(&mut self) {
        let used: BTreeSet<&String> = self.members.values().filter_map(|m| m.regex.as_ref()).collect();
        let unused: Vec<String> = self.regexes.keys().filter(|r| !used.contains(r)).cloned().collect();
        for pattern in unused {
            self.regexes.remove(&pattern);
            self.dirty.insert(RecordKey::Regex(pattern));
        }
    }

    fn names_of<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a str> {
        let by_regex = member.regex.as_ref().and_then(|r| self.regexes.get(r)).into_iter().flat_map(|r| &r.topics);
        member.topics.iter().chain(by_regex).map(String::as_str)
    }

    /// Topics that a member wants and that exist.
    pub(super) fn subscribed_ids(&self, member: &Member, topics: &TopicImage) -> BTreeSet<TopicId> {
        self.names_of(member).filter_map(|name| topics.get(name)).map(|(id, _)| id).collect()
    }

    /// A number that changes when the group has a reason to assign anew.
    pub(super) fn hash_of_topics(&self, topics: &TopicImage) -> i64 {
        topics.hash_of(self.members.values().flat_map(|m| self.names_of(m)).collect())
    }

    /// Computes the target assignment of the group's epoch.
    pub(super) fn assign(&mut self, topics: &TopicImage) {
        let subscribed: Vec<BTreeSet<TopicId>> =
            self.members.values().map(|m| self.subscribed_ids(m, topics)).collect();
        let partitions: BTreeMap<TopicId, i32> =
            subscribed.iter().flatten().filter_map(|id| Some((*id, topics.get(topics.name_of(*id)?)?.1))).collect();
        let none = BTreeSet::new();
        let members = self.members.values().zip(subscribed).map(|(member, topics)| Subscriber {
            id: &member.id,
            instance_id: member.instance_id.as_deref(),
            topics,
            current: self.target.get(&member.id).unwrap_or(&none),
        });
        let input = Input { members: members.collect(), partitions };
        let target = assignor::assign(self.assignor(), &input);
        for (id, partitions) in &target {
            if self.target.get(id) != Some(partitions) {
                self.dirty.insert(RecordKey::Target(id.clone()));
            }
        }
        self.target = target;
        self.assignment_epoch = self.epoch;
        self.dirty.insert(RecordKey::TargetEpoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_whole_names_only() {
        let regex = compile("orders-.*|audit").unwrap();
        assert!(regex.is_match("orders-eu") && regex.is_match("audit"));
        assert!(!regex.is_match("old-orders-eu") && !regex.is_match("audit2"));
        assert!(compile("^orders.*").unwrap().is_match("orders"));
    }

    #[test]
    fn quoted_parts_are_literal_as_java_writes_them() {
        assert!(compile(r"\Qa.b\E.*").unwrap().is_match("a.bc"));
        assert!(!compile(r"\Qa.b\E.*").unwrap().is_match("axbc"));
        assert!(compile(r"\Qa.b").unwrap().is_match("a.b"));
        assert!(compile(r"\\Q").unwrap().is_match(r"\Q"));
        assert!(compile(r"a\.b").unwrap().is_match("a.b"));
        assert!(compile("\\").is_err());
    }

    #[test]
    fn expressions_that_are_none_or_too_large_are_refused() {
        for bad in
            ["(", "[", "a{1000}{1000}{1000}", "a)(b", &"(".repeat(500), &"a".repeat(20_000), r"(?<=x)y", r"(a)\1"]
        {
            assert!(matches!(compile(bad), Err(GroupError::InvalidRegularExpression { .. })), "{bad:.20}");
        }
    }
}
