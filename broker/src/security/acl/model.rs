//! Bindings: a pattern of resources, and an entry that says who may, or may not, do what to them.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Name of the one resource of type Cluster.
pub const CLUSTER_NAME: &str = "kafka-cluster";

/// Every resource of a type (as a literal name), every host, every user.
pub const WILDCARD: &str = "*";

/// Longest name of a resource or principal, in bytes. Topics have at most 249.
pub const NAME_MAX: usize = 1024;

/// Declares an enum with Kafka's numbers and names of the tools.
macro_rules! wire_enum {
    ($(#[doc = $doc:literal])* $name:ident, $what:literal { $($(#[doc = $vdoc:literal])* $variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[doc = $vdoc])* $variant = $code,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// Of a number of the wire; `None` for Kafka's UNKNOWN, ANY and everything else.
            #[must_use]
            pub fn of_wire(code: i8) -> Option<$name> {
                match code { $($code => Some($name::$variant),)* _ => None }
            }

            /// The number on the wire.
            #[must_use]
            pub fn wire(self) -> i8 { self as i8 }

            /// As Kafka's tools print it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.name()) }
        }

        impl FromStr for $name {
            type Err = String;

            /// Case, `-` and `_` do not matter.
            fn from_str(text: &str) -> Result<$name, String> {
                let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
                let found = $name::ALL.iter().copied().find(|item| plain(item.name()) == plain(text));
                found.ok_or_else(|| {
                    let names: Vec<_> = $name::ALL.iter().map(|item| item.name().to_ascii_lowercase()).collect();
                    format!("`{text}` is no {}; there are {}", $what, names.join(", "))
                })
            }
        }
    };
}

wire_enum! {
    /// Kinds of resources.
    ResourceType, "resource type" {
        /// A topic, and the Schema Registry's subjects of it.
        Topic = 2, "TOPIC";
        /// A group of consumers.
        Group = 3, "GROUP";
        /// The cluster as a whole.
        Cluster = 4, "CLUSTER";
        /// The id of a transactional producer.
        TransactionalId = 5, "TRANSACTIONAL_ID";
        /// A delegation token; stored as Kafka's tools give it, tokens themselves are not served.
        DelegationToken = 6, "DELEGATION_TOKEN";
        /// A user whose delegation tokens are meant.
        User = 7, "USER";
    }
}

wire_enum! {
    /// How the name of a pattern is compared.
    PatternType, "pattern type" {
        /// Exactly, or `*` for every name.
        Literal = 3, "LITERAL";
        /// The name begins with it.
        Prefixed = 4, "PREFIXED";
    }
}

wire_enum! {
    /// What is done to a resource.
    Operation, "operation" {
        /// Everything.
        All = 2, "ALL";
        Read = 3, "READ";
        Write = 4, "WRITE";
        Create = 5, "CREATE";
        Delete = 6, "DELETE";
        Alter = 7, "ALTER";
        Describe = 8, "DESCRIBE";
        ClusterAction = 9, "CLUSTER_ACTION";
        DescribeConfigs = 10, "DESCRIBE_CONFIGS";
        AlterConfigs = 11, "ALTER_CONFIGS";
        IdempotentWrite = 12, "IDEMPOTENT_WRITE";
        CreateTokens = 13, "CREATE_TOKENS";
        DescribeTokens = 14, "DESCRIBE_TOKENS";
        TwoPhaseCommit = 15, "TWO_PHASE_COMMIT";
    }
}

wire_enum! {
    /// Whether an entry gives or takes.
    Permission, "permission" {
        /// Wins over every Allow.
        Deny = 2, "DENY";
        Allow = 3, "ALLOW";
    }
}

impl Operation {
    /// Whether being allowed this operation means being allowed `wanted`. A denial implies nothing but itself and, as All,
    /// everything.
    #[must_use]
    pub fn allows(self, wanted: Operation) -> bool {
        use Operation::{All, Alter, AlterConfigs, Delete, Describe, DescribeConfigs, Read, Write};
        self == wanted
            || self == All
            || match wanted {
                Describe => matches!(self, Read | Write | Delete | Alter),
                DescribeConfigs => self == AlterConfigs,
                _ => false,
            }
    }

    /// Whether being denied this operation means being denied `wanted`.
    #[must_use]
    pub fn denies(self, wanted: Operation) -> bool {
        self == wanted || self == Operation::All
    }
}

/// The resources a binding is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResourcePattern {
    /// Kind of resource.
    pub resource: ResourceType,
    /// Literal name, prefix, or `*`.
    pub name: String,
    /// How `name` is compared.
    pub pattern: PatternType,
}

/// Who may, or may not, do what, from where.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AclEntry {
    /// `User:alice`, or `User:*` for everybody.
    pub principal: String,
    /// An IP address, or `*`.
    pub host: String,
    /// What is done.
    pub operation: Operation,
    /// Given or taken.
    pub permission: Permission,
}

/// One access control list entry with what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AclBinding {
    /// The resources.
    #[serde(flatten)]
    pub pattern: ResourcePattern,
    /// The entry.
    #[serde(flatten)]
    pub entry: AclEntry,
}

/// Why a binding is not made, or a filter not understood. The texts are Kafka's where Kafka has one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AclError {
    /// UNKNOWN, ANY, or a number that nothing has.
    #[error("Invalid {field} {code}")]
    InvalidField {
        /// Kafka's name of the field.
        field: &'static str,
        /// What was given.
        code: i8,
    },
    /// No name.
    #[error("Resource name should not be empty")]
    EmptyName,
    /// A cluster has one name.
    #[error("The only valid name for the CLUSTER resource is kafka-cluster, `{name}` is not")]
    ClusterName {
        /// What was given.
        name: String,
    },
    /// Not `KIND:NAME`.
    #[error(
        "Could not parse principal from `{principal}` (no colon is present separating the principal type from the principal name)"
    )]
    Principal {
        /// What was given.
        principal: String,
    },
    /// Too long, or empty.
    #[error("{field} has {bytes} bytes; it must have 1 to {NAME_MAX}")]
    Length {
        /// Which text.
        field: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// A host name: connections have addresses.
    #[error("host `{host}` is no IP address; clients are known by their address, write one or *")]
    Host {
        /// What was given.
        host: String,
    },
}

impl AclBinding {
    /// Whether it can be stored: what Kafka checks, and that it has bounds.
    pub fn validate(&self) -> Result<(), AclError> {
        let ResourcePattern { resource, name, .. } = &self.pattern;
        if name.is_empty() {
            return Err(AclError::EmptyName);
        }
        if *resource == ResourceType::Cluster && ![CLUSTER_NAME, WILDCARD].contains(&name.as_str()) {
            return Err(AclError::ClusterName { name: name.clone() });
        }
        let AclEntry { principal, host, .. } = &self.entry;
        if principal.split_once(':').is_none() {
            return Err(AclError::Principal { principal: principal.chars().take(200).collect() });
        }
        for (field, text) in [("resource name", name), ("principal", principal), ("host", host)] {
            if !(1..=NAME_MAX).contains(&text.len()) {
                return Err(AclError::Length { field, bytes: text.len() });
            }
        }
        if host != WILDCARD && host.parse::<std::net::IpAddr>().is_err() {
            return Err(AclError::Host { host: host.clone() });
        }
        Ok(())
    }
}

impl fmt::Display for AclBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AclEntry { principal, host, operation, permission } = &self.entry;
        let ResourcePattern { resource, name, pattern } = &self.pattern;
        write!(f, "{permission} {principal} {operation} on {resource} {pattern} {name} from {host}")
    }
}
