//! Producing, fetching, offsets, metadata, version negotiation.

use crate::guard::shape::Shape::{Array, OptionStruct, Struct};
use crate::guard::shape::{Api, BOOL, BYTES, I8, I16, I32, I64, STR, UUID, field, tagged};

/// See the module.
pub(in crate::guard) const APIS: &[Api] = &[
    Api {
        key: 0,
        name: "Produce",
        min: 3,
        max: 13,
        flexible: 9,
        fields: &[
            field("transactional_id", STR),
            field("acks", I16),
            field("timeout_ms", I32),
            field(
                "topic_data",
                Array(&Struct(&[
                    field("name", STR).until(12),
                    field("topic_id", UUID).since(13),
                    field("partition_data", Array(&Struct(&[field("index", I32), field("records", BYTES)]))),
                ])),
            ),
        ],
    },
    Api {
        key: 1,
        name: "Fetch",
        min: 4,
        max: 18,
        flexible: 12,
        fields: &[
            field("replica_id", I32).until(14),
            field("max_wait_ms", I32),
            field("min_bytes", I32),
            field("max_bytes", I32),
            field("isolation_level", I8),
            field("session_id", I32).since(7),
            field("session_epoch", I32).since(7),
            field(
                "topics",
                Array(&Struct(&[
                    field("topic", STR).until(12),
                    field("topic_id", UUID).since(13),
                    field(
                        "partitions",
                        Array(&Struct(&[
                            field("partition", I32),
                            field("current_leader_epoch", I32).since(9),
                            field("fetch_offset", I64),
                            field("last_fetched_epoch", I32).since(12),
                            field("log_start_offset", I64).since(5),
                            field("partition_max_bytes", I32),
                            tagged(0, "replica_directory_id", UUID).since(17),
                            tagged(1, "high_watermark", I64).since(18),
                        ])),
                    ),
                ])),
            ),
            field(
                "forgotten_topics_data",
                Array(&Struct(&[
                    field("topic", STR).since(7).until(12),
                    field("topic_id", UUID).since(13),
                    field("partitions", Array(&I32)).since(7),
                ])),
            )
            .since(7),
            field("rack_id", STR).since(11),
            tagged(0, "cluster_id", STR),
            tagged(
                1,
                "replica_state",
                Struct(&[field("replica_id", I32).since(15), field("replica_epoch", I64).since(15)]),
            )
            .since(15),
        ],
    },
    Api {
        key: 2,
        name: "ListOffsets",
        min: 1,
        max: 10,
        flexible: 6,
        fields: &[
            field("replica_id", I32),
            field("isolation_level", I8).since(2),
            field(
                "topics",
                Array(&Struct(&[
                    field("name", STR),
                    field(
                        "partitions",
                        Array(&Struct(&[
                            field("partition_index", I32),
                            field("current_leader_epoch", I32).since(4),
                            field("timestamp", I64),
                        ])),
                    ),
                ])),
            ),
            field("timeout_ms", I32).since(10),
        ],
    },
    Api {
        key: 23,
        name: "OffsetForLeaderEpoch",
        min: 2,
        max: 4,
        flexible: 4,
        fields: &[
            field("replica_id", I32).since(3),
            field(
                "topics",
                Array(&Struct(&[
                    field("topic", STR),
                    field(
                        "partitions",
                        Array(&Struct(&[
                            field("partition", I32),
                            field("current_leader_epoch", I32),
                            field("leader_epoch", I32),
                        ])),
                    ),
                ])),
            ),
        ],
    },
    Api {
        key: 3,
        name: "Metadata",
        min: 0,
        max: 13,
        flexible: 9,
        fields: &[
            field("topics", Array(&Struct(&[field("topic_id", UUID).since(10), field("name", STR)]))),
            field("allow_auto_topic_creation", BOOL).since(4),
            field("include_cluster_authorized_operations", BOOL).since(8).until(10),
            field("include_topic_authorized_operations", BOOL).since(8),
        ],
    },
    Api {
        key: 18,
        name: "ApiVersions",
        min: 0,
        max: 4,
        flexible: 3,
        fields: &[field("client_software_name", STR).since(3), field("client_software_version", STR).since(3)],
    },
    Api {
        key: 75,
        name: "DescribeTopicPartitions",
        min: 0,
        max: 0,
        flexible: 0,
        fields: &[
            field("topics", Array(&Struct(&[field("name", STR)]))),
            field("response_partition_limit", I32),
            field("cursor", OptionStruct(&[field("topic_name", STR), field("partition_index", I32)])),
        ],
    },
    Api {
        key: 21,
        name: "DeleteRecords",
        min: 0,
        max: 2,
        flexible: 2,
        fields: &[
            field(
                "topics",
                Array(&Struct(&[
                    field("name", STR),
                    field("partitions", Array(&Struct(&[field("partition_index", I32), field("offset", I64)]))),
                ])),
            ),
            field("timeout_ms", I32),
        ],
    },
];
