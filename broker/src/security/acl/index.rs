//! The index of all bindings: an immutable value that answers one question in a few look-ups, however many bindings there are.
//!
//! For a resource three places can hold bindings: its literal name, `*`, and each prefix of its name. Prefixes are kept by
//! length, so a question costs one look-up for each length that some prefix has.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::filter::AclFilter;
use super::grants::Grant;
use super::model::{AclBinding, AclEntry, Operation, PatternType, Permission, ResourceType, WILDCARD};
use crate::security::Principal;

/// What is decided, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// By a super user, a binding, or because nothing is said about the resource and the policy allows that.
    Allowed,
    /// To read some columns and rows only, as [`AclIndex::grant`] tells. Nobody who does not know of that may take it for more.
    Restricted,
    /// By a binding, or because none allows it.
    Denied,
}

impl Decision {
    /// Whether it may be done, all of it.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        self == Decision::Allowed
    }
}

/// What holds beside the bindings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// They may do everything, whatever is denied.
    pub super_users: HashSet<Principal>,
    /// What nothing is said about is allowed to everybody.
    pub allow_if_no_acl: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    Everybody,
    One(Principal),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    Anywhere,
    Address(IpAddr),
}

/// An entry, ready to be compared.
#[derive(Debug, Clone)]
struct Rule {
    who: Who,
    from: From,
    operation: Operation,
    permission: Permission,
}

impl Rule {
    /// None: it can apply to nobody (a host that is no address, from a store of another program).
    fn of(entry: &AclEntry) -> Option<Rule> {
        let who = match entry.principal.as_str() {
            "User:*" => Who::Everybody,
            principal => {
                let (kind, name) = principal.split_once(':')?;
                Who::One(Principal { kind: kind.to_owned(), name: name.to_owned() })
            }
        };
        let from = match entry.host.as_str() {
            WILDCARD => From::Anywhere,
            host => From::Address(host.parse::<IpAddr>().ok()?.to_canonical()),
        };
        Some(Rule { who, from, operation: entry.operation, permission: entry.permission })
    }

    fn is_about(&self, principal: &Principal, host: IpAddr) -> bool {
        let who = match &self.who {
            Who::Everybody => true,
            Who::One(one) => one == principal,
        };
        who && match &self.from {
            From::Anywhere => true,
            From::Address(address) => *address == host.to_canonical(),
        }
    }
}

/// Bindings of one type of resource.
#[derive(Debug, Default)]
struct OfType {
    everything: Vec<Rule>,
    literal: HashMap<String, Vec<Rule>>,
    prefixed: HashMap<String, Vec<Rule>>,
    /// Lengths in bytes that prefixes have.
    prefix_lengths: BTreeSet<usize>,
}

impl OfType {
    /// Every rule about the resource `name`.
    fn about<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Rule> {
        let prefixes = self
            .prefix_lengths
            .iter()
            .take_while(|length| **length <= name.len())
            // A length that ends inside a character belongs to another prefix.
            .filter_map(|length| self.prefixed.get(name.get(..*length)?));
        let literal = self.literal.get(name).into_iter();
        self.everything.iter().chain(literal.flatten()).chain(prefixes.flatten())
    }
}

/// All bindings, ready to decide.
#[derive(Debug, Default)]
pub struct AclIndex {
    policy: Policy,
    bindings: Vec<AclBinding>,
    by_type: HashMap<ResourceType, OfType>,
    /// By topic, then principal.
    grants: BTreeMap<String, BTreeMap<String, Arc<Grant>>>,
}

/// Everybody, as bindings name them.
const EVERYBODY: &str = "User:*";

impl AclIndex {
    /// Of these bindings, each of them once.
    #[must_use]
    pub fn new(policy: Policy, bindings: impl IntoIterator<Item = AclBinding>) -> AclIndex {
        AclIndex::with_grants(policy, bindings, [])
    }

    /// The same, and these restricted grants.
    #[must_use]
    pub fn with_grants(
        policy: Policy,
        bindings: impl IntoIterator<Item = AclBinding>,
        grants: impl IntoIterator<Item = Arc<Grant>>,
    ) -> AclIndex {
        let mut by_topic: BTreeMap<String, BTreeMap<String, Arc<Grant>>> = BTreeMap::new();
        for grant in grants {
            by_topic.entry(grant.topic.clone()).or_default().insert(grant.principal.clone(), grant);
        }
        let bindings: BTreeSet<AclBinding> = bindings.into_iter().collect();
        let mut by_type: HashMap<ResourceType, OfType> = HashMap::new();
        for AclBinding { pattern, entry } in &bindings {
            let Some(rule) = Rule::of(entry) else { continue };
            let of_type = by_type.entry(pattern.resource).or_default();
            match pattern.pattern {
                PatternType::Literal if pattern.name == WILDCARD => of_type.everything.push(rule),
                PatternType::Literal => of_type.literal.entry(pattern.name.clone()).or_default().push(rule),
                PatternType::Prefixed => {
                    of_type.prefix_lengths.insert(pattern.name.len());
                    of_type.prefixed.entry(pattern.name.clone()).or_default().push(rule);
                }
            }
        }
        AclIndex { policy, bindings: bindings.into_iter().collect(), by_type, grants: by_topic }
    }

    /// Every binding, in order.
    #[must_use]
    pub fn bindings(&self) -> &[AclBinding] {
        &self.bindings
    }

    /// The bindings that a filter means, in order.
    pub fn matching<'a>(&'a self, filter: &'a AclFilter) -> impl Iterator<Item = &'a AclBinding> {
        self.bindings.iter().filter(|binding| filter.matches(binding))
    }

    /// Every restricted grant, by topic and principal.
    pub fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.grants.values().flat_map(BTreeMap::values)
    }

    /// The restricted grants that a filter means.
    pub fn matching_grants<'a>(&'a self, filter: &'a AclFilter) -> impl Iterator<Item = &'a Arc<Grant>> {
        self.grants().filter(|grant| filter.matches(&grant.binding()))
    }

    /// What somebody may read of a topic at least: their own grant, or else everybody's.
    #[must_use]
    pub fn grant(&self, principal: &Principal, topic: &str) -> Option<&Arc<Grant>> {
        let of_topic = self.grants.get(topic)?;
        of_topic.get(&principal.to_string()).or_else(|| of_topic.get(EVERYBODY))
    }

    /// Whether somebody may do anything at all.
    #[must_use]
    pub fn is_super_user(&self, principal: &Principal) -> bool {
        self.policy.super_users.contains(principal)
    }

    /// Whether `principal`, connected from `host`, may do this to that resource.
    #[must_use]
    pub fn authorize(
        &self,
        principal: &Principal,
        host: IpAddr,
        operation: Operation,
        resource: ResourceType,
        name: &str,
    ) -> Decision {
        if self.is_super_user(principal) {
            return Decision::Allowed;
        }
        let (mut is_mentioned, mut is_allowed) = (false, false);
        if let Some(of_type) = self.by_type.get(&resource) {
            for rule in of_type.about(name) {
                is_mentioned = true;
                if !rule.is_about(principal, host) {
                    continue;
                }
                match rule.permission {
                    Permission::Deny if rule.operation.denies(operation) => return Decision::Denied,
                    Permission::Allow => is_allowed |= rule.operation.allows(operation),
                    Permission::Deny => {}
                }
            }
        }
        if is_allowed {
            return Decision::Allowed;
        }
        // A topic of which something is given to somebody is mentioned.
        if resource == ResourceType::Topic && self.grants.contains_key(name) {
            return match operation {
                Operation::Read if self.grant(principal, name).is_some() => Decision::Restricted,
                Operation::Describe if self.grant(principal, name).is_some() => Decision::Allowed,
                _ => Decision::Denied,
            };
        }
        if !is_mentioned && self.policy.allow_if_no_acl { Decision::Allowed } else { Decision::Denied }
    }

    /// Whether there may be a resource of this type to which the operation is allowed (Kafka's `authorizeByResourceType`): what
    /// decides whether a producer without a transaction gets an id.
    #[must_use]
    pub fn authorize_some(
        &self,
        principal: &Principal,
        host: IpAddr,
        operation: Operation,
        resource: ResourceType,
    ) -> Decision {
        if self.is_super_user(principal) {
            return Decision::Allowed;
        }
        let Some(of_type) = self.by_type.get(&resource) else {
            return if self.policy.allow_if_no_acl { Decision::Allowed } else { Decision::Denied };
        };
        let verdicts = |rules: &[Rule]| {
            let mine = rules.iter().filter(|rule| rule.is_about(principal, host) && rule.operation.denies(operation));
            mine.fold((false, false), |(denied, allowed), rule| match rule.permission {
                Permission::Deny => (true, allowed),
                Permission::Allow => (denied, true),
            })
        };
        let denied = |rules: &[Rule]| verdicts(rules).0;
        match verdicts(&of_type.everything) {
            (true, _) => return Decision::Denied,
            (_, true) => return Decision::Allowed,
            _ => {}
        }
        let has_denied_prefix = |name: &str| {
            let shorter = of_type.prefix_lengths.iter().take_while(|length| **length <= name.len());
            shorter.filter_map(|length| of_type.prefixed.get(name.get(..*length)?)).any(|rules| denied(rules))
        };
        let some = |patterns: &HashMap<String, Vec<Rule>>, is_literal: bool| {
            patterns.iter().any(|(name, rules)| {
                let (denied, allowed) = verdicts(rules);
                allowed && !(denied && is_literal) && !has_denied_prefix(name)
            })
        };
        if some(&of_type.literal, true) || some(&of_type.prefixed, false) {
            return Decision::Allowed;
        }
        // Nothing is said about some name: with a policy that allows it, that is a resource to write to.
        let is_mentioned = !of_type.everything.is_empty();
        if self.policy.allow_if_no_acl && !is_mentioned { Decision::Allowed } else { Decision::Denied }
    }
}
