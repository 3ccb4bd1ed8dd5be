//! Consumer groups and their offsets.

use crate::guard::shape::Shape::{Array, Struct};
use crate::guard::shape::{Api, BOOL, BYTES, I8, I32, I64, NEVER, STR, UUID, field};

/// See the module.
pub(in crate::guard) const APIS: &[Api] = &[
    Api {
        key: 10,
        name: "FindCoordinator",
        min: 0,
        max: 6,
        flexible: 3,
        fields: &[
            field("key", STR).until(3),
            field("key_type", I8).since(1),
            field("coordinator_keys", Array(&STR)).since(4),
        ],
    },
    Api {
        key: 8,
        name: "OffsetCommit",
        min: 2,
        max: 9,
        flexible: 8,
        fields: &[
            field("group_id", STR),
            field("generation_id_or_member_epoch", I32),
            field("member_id", STR),
            field("group_instance_id", STR).since(7),
            field("retention_time_ms", I64).until(4),
            field(
                "topics",
                Array(&Struct(&[
                    field("name", STR),
                    field(
                        "partitions",
                        Array(&Struct(&[
                            field("partition_index", I32),
                            field("committed_offset", I64),
                            field("committed_leader_epoch", I32).since(6),
                            field("committed_metadata", STR),
                        ])),
                    ),
                ])),
            ),
        ],
    },
    Api {
        key: 9,
        name: "OffsetFetch",
        min: 1,
        max: 9,
        flexible: 6,
        fields: &[
            field("group_id", STR).until(7),
            field(
                "topics",
                Array(&Struct(&[field("name", STR).until(7), field("partition_indexes", Array(&I32)).until(7)])),
            )
            .until(7),
            field(
                "groups",
                Array(&Struct(&[
                    field("group_id", STR).since(8),
                    field("member_id", STR).since(9),
                    field("member_epoch", I32).since(9),
                    field(
                        "topics",
                        Array(&Struct(&[
                            field("name", STR).since(8),
                            field("partition_indexes", Array(&I32)).since(8),
                        ])),
                    )
                    .since(8),
                ])),
            )
            .since(8),
            field("require_stable", BOOL).since(7),
        ],
    },
    Api {
        key: 11,
        name: "JoinGroup",
        min: 0,
        max: 9,
        flexible: 6,
        fields: &[
            field("group_id", STR),
            field("session_timeout_ms", I32),
            field("rebalance_timeout_ms", I32).since(1),
            field("member_id", STR),
            field("group_instance_id", STR).since(5),
            field("protocol_type", STR),
            field("protocols", Array(&Struct(&[field("name", STR), field("metadata", BYTES)]))),
            field("reason", STR).since(8),
        ],
    },
    Api {
        key: 12,
        name: "Heartbeat",
        min: 0,
        max: 4,
        flexible: 4,
        fields: &[
            field("group_id", STR),
            field("generation_id", I32),
            field("member_id", STR),
            field("group_instance_id", STR).since(3),
        ],
    },
    Api {
        key: 13,
        name: "LeaveGroup",
        min: 0,
        max: 5,
        flexible: 4,
        fields: &[
            field("group_id", STR),
            field("member_id", STR).until(2),
            field(
                "members",
                Array(&Struct(&[
                    field("member_id", STR).since(3),
                    field("group_instance_id", STR).since(3),
                    field("reason", STR).since(5),
                ])),
            )
            .since(3),
        ],
    },
    Api {
        key: 14,
        name: "SyncGroup",
        min: 0,
        max: 5,
        flexible: 4,
        fields: &[
            field("group_id", STR),
            field("generation_id", I32),
            field("member_id", STR),
            field("group_instance_id", STR).since(3),
            field("protocol_type", STR).since(5),
            field("protocol_name", STR).since(5),
            field("assignments", Array(&Struct(&[field("member_id", STR), field("assignment", BYTES)]))),
        ],
    },
    Api {
        key: 15,
        name: "DescribeGroups",
        min: 0,
        max: 6,
        flexible: 5,
        fields: &[field("groups", Array(&STR)), field("include_authorized_operations", BOOL).since(3)],
    },
    Api {
        key: 16,
        name: "ListGroups",
        min: 0,
        max: 5,
        flexible: 3,
        fields: &[field("states_filter", Array(&STR)).since(4), field("types_filter", Array(&STR)).since(5)],
    },
    Api { key: 42, name: "DeleteGroups", min: 0, max: 2, flexible: 2, fields: &[field("groups_names", Array(&STR))] },
    Api {
        key: 47,
        name: "OffsetDelete",
        min: 0,
        max: 0,
        flexible: NEVER,
        fields: &[
            field("group_id", STR),
            field(
                "topics",
                Array(&Struct(&[
                    field("name", STR),
                    field("partitions", Array(&Struct(&[field("partition_index", I32)]))),
                ])),
            ),
        ],
    },
    Api {
        key: 68,
        name: "ConsumerGroupHeartbeat",
        min: 0,
        max: 1,
        flexible: 0,
        fields: &[
            field("group_id", STR),
            field("member_id", STR),
            field("member_epoch", I32),
            field("instance_id", STR),
            field("rack_id", STR),
            field("rebalance_timeout_ms", I32),
            field("subscribed_topic_names", Array(&STR)),
            field("subscribed_topic_regex", STR).since(1),
            field("server_assignor", STR),
            field("topic_partitions", Array(&Struct(&[field("topic_id", UUID), field("partitions", Array(&I32))]))),
        ],
    },
    Api {
        key: 69,
        name: "ConsumerGroupDescribe",
        min: 0,
        max: 1,
        flexible: 0,
        fields: &[field("group_ids", Array(&STR)), field("include_authorized_operations", BOOL)],
    },
];
