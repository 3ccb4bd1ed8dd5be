//! Topics, configuration and the cluster.

use crate::guard::shape::Shape::{Array, Struct};
use crate::guard::shape::{Api, BOOL, I8, I16, I32, STR, UUID, field};

/// See the module.
pub(in crate::guard) const APIS: &[Api] = &[
    Api {
        key: 19,
        name: "CreateTopics",
        min: 2,
        max: 7,
        flexible: 5,
        fields: &[
            field(
                "topics",
                Array(&Struct(&[
                    field("name", STR),
                    field("num_partitions", I32),
                    field("replication_factor", I16),
                    field(
                        "assignments",
                        Array(&Struct(&[field("partition_index", I32), field("broker_ids", Array(&I32))])),
                    ),
                    field("configs", Array(&Struct(&[field("name", STR), field("value", STR)]))),
                ])),
            ),
            field("timeout_ms", I32),
            field("validate_only", BOOL),
        ],
    },
    Api {
        key: 20,
        name: "DeleteTopics",
        min: 1,
        max: 6,
        flexible: 4,
        fields: &[
            field("topics", Array(&Struct(&[field("name", STR).since(6), field("topic_id", UUID).since(6)]))).since(6),
            field("topic_names", Array(&STR)).until(5),
            field("timeout_ms", I32),
        ],
    },
    Api {
        key: 37,
        name: "CreatePartitions",
        min: 0,
        max: 3,
        flexible: 2,
        fields: &[
            field(
                "topics",
                Array(&Struct(&[
                    field("name", STR),
                    field("count", I32),
                    field("assignments", Array(&Struct(&[field("broker_ids", Array(&I32))]))),
                ])),
            ),
            field("timeout_ms", I32),
            field("validate_only", BOOL),
        ],
    },
    Api {
        key: 32,
        name: "DescribeConfigs",
        min: 1,
        max: 4,
        flexible: 4,
        fields: &[
            field(
                "resources",
                Array(&Struct(&[
                    field("resource_type", I8),
                    field("resource_name", STR),
                    field("configuration_keys", Array(&STR)),
                ])),
            ),
            field("include_synonyms", BOOL),
            field("include_documentation", BOOL).since(3),
        ],
    },
    Api {
        key: 33,
        name: "AlterConfigs",
        min: 0,
        max: 2,
        flexible: 2,
        fields: &[
            field(
                "resources",
                Array(&Struct(&[
                    field("resource_type", I8),
                    field("resource_name", STR),
                    field("configs", Array(&Struct(&[field("name", STR), field("value", STR)]))),
                ])),
            ),
            field("validate_only", BOOL),
        ],
    },
    Api {
        key: 44,
        name: "IncrementalAlterConfigs",
        min: 0,
        max: 1,
        flexible: 1,
        fields: &[
            field(
                "resources",
                Array(&Struct(&[
                    field("resource_type", I8),
                    field("resource_name", STR),
                    field(
                        "configs",
                        Array(&Struct(&[field("name", STR), field("config_operation", I8), field("value", STR)])),
                    ),
                ])),
            ),
            field("validate_only", BOOL),
        ],
    },
    Api {
        key: 74,
        name: "ListConfigResources",
        min: 0,
        max: 1,
        flexible: 0,
        fields: &[field("resource_types", Array(&I8)).since(1)],
    },
    Api {
        key: 60,
        name: "DescribeCluster",
        min: 0,
        max: 2,
        flexible: 0,
        fields: &[
            field("include_cluster_authorized_operations", BOOL),
            field("endpoint_type", I8).since(1),
            field("include_fenced_brokers", BOOL).since(2),
        ],
    },
    Api {
        key: 34,
        name: "AlterReplicaLogDirs",
        min: 1,
        max: 2,
        flexible: 2,
        fields: &[field(
            "dirs",
            Array(&Struct(&[
                field("path", STR),
                field("topics", Array(&Struct(&[field("name", STR), field("partitions", Array(&I32))]))),
            ])),
        )],
    },
    Api {
        key: 35,
        name: "DescribeLogDirs",
        min: 1,
        max: 4,
        flexible: 2,
        fields: &[field("topics", Array(&Struct(&[field("topic", STR), field("partitions", Array(&I32))])))],
    },
    Api {
        key: 43,
        name: "ElectLeaders",
        min: 0,
        max: 2,
        flexible: 2,
        fields: &[
            field("election_type", I8).since(1),
            field("topic_partitions", Array(&Struct(&[field("topic", STR), field("partitions", Array(&I32))]))),
            field("timeout_ms", I32),
        ],
    },
    Api {
        key: 45,
        name: "AlterPartitionReassignments",
        min: 0,
        max: 1,
        flexible: 0,
        fields: &[
            field("timeout_ms", I32),
            field("allow_replication_factor_change", BOOL).since(1),
            field(
                "topics",
                Array(&Struct(&[
                    field("name", STR),
                    field(
                        "partitions",
                        Array(&Struct(&[field("partition_index", I32), field("replicas", Array(&I32))])),
                    ),
                ])),
            ),
        ],
    },
    Api {
        key: 46,
        name: "ListPartitionReassignments",
        min: 0,
        max: 0,
        flexible: 0,
        fields: &[
            field("timeout_ms", I32),
            field("topics", Array(&Struct(&[field("name", STR), field("partition_indexes", Array(&I32))]))),
        ],
    },
    Api {
        key: 55,
        name: "DescribeQuorum",
        min: 0,
        max: 2,
        flexible: 0,
        fields: &[field(
            "topics",
            Array(&Struct(&[
                field("topic_name", STR),
                field("partitions", Array(&Struct(&[field("partition_index", I32)]))),
            ])),
        )],
    },
    Api {
        key: 57,
        name: "UpdateFeatures",
        min: 0,
        max: 2,
        flexible: 0,
        fields: &[
            field("timeout_ms", I32),
            field(
                "feature_updates",
                Array(&Struct(&[
                    field("feature", STR),
                    field("max_version_level", I16),
                    field("allow_downgrade", BOOL).until(0),
                    field("upgrade_type", I8).since(1),
                ])),
            ),
            field("validate_only", BOOL).since(1),
        ],
    },
];
