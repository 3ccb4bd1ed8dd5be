//! What members ask of a group and are told, without the wire.
use bytes::Bytes;
use weir_protocol::ids::Generation;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// Empty for a first join.
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// By preference.
    pub protocols: Vec<(String, Bytes)>,
    /// Version 4 and later: dynamic members join twice, the second time with the id they were given.
    pub require_known_member_id: bool,
    /// Version 9 and later: the leader can be told to keep the assignment.
    pub supports_skip_assignment: bool,
    /// The id to give if this member is new.
    pub new_member_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub generation: Generation,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub leader: String,
    pub member_id: String,
    pub skip_assignment: bool,
    /// (member id, instance id, metadata), for the leader only.
    pub members: Vec<(String, Option<String>, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub generation: Generation,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignment: Bytes,
}

/// One member of a LeaveGroup request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub member_id: String,
    pub instance_id: Option<String>,
}
