//! Filters of DescribeAcls and DeleteAcls: absent fields match everything.
use super::model::{AclBinding, AclEntry, Operation, PatternType, Permission, ResourcePattern, ResourceType, WILDCARD};

/// Which patterns are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PatternFilter {
    /// Any pattern whose name is the given one.
    #[default]
    Any,
    /// Every pattern that applies to a resource of the given name.
    Match,
    /// Patterns of this type with the given name.
    Exactly(PatternType),
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AclFilter {
    /// Kind of resource.
    pub resource: Option<ResourceType>,
    /// Name, read as `pattern` says.
    pub name: Option<String>,
    /// How `name` is compared.
    pub pattern: PatternFilter,
    /// Exactly this principal; `User:*` is the entry for everybody, not every entry.
    pub principal: Option<String>,
    /// Exactly this host.
    pub host: Option<String>,
    /// Exactly this operation; All is the entry for all, not every entry.
    pub operation: Option<Operation>,
    /// Given or taken.
    pub permission: Option<Permission>,
}

impl AclFilter {
    /// Whether a binding is meant.
    #[must_use]
    pub fn matches(&self, binding: &AclBinding) -> bool {
        let AclEntry { principal, host, operation, permission } = &binding.entry;
        fn is<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        self.matches_pattern(&binding.pattern)
            && is(self.principal.as_ref(), principal)
            && is(self.host.as_ref(), host)
            && is(self.operation.as_ref(), operation)
            && is(self.permission.as_ref(), permission)
    }

    fn matches_pattern(&self, found: &ResourcePattern) -> bool {
        if self.resource.is_some_and(|resource| resource != found.resource) {
            return false;
        }
        if let PatternFilter::Exactly(pattern) = self.pattern
            && pattern != found.pattern
        {
            return false;
        }
        let Some(name) = &self.name else { return true };
        match (self.pattern, found.pattern) {
            (PatternFilter::Any | PatternFilter::Exactly(_), _) => *name == found.name,
            (PatternFilter::Match, PatternType::Literal) => found.name == *name || found.name == WILDCARD,
            (PatternFilter::Match, PatternType::Prefixed) => name.starts_with(&found.name),
        }
    }
}
