//! Idempotent producers and transactions.

use crate::guard::shape::Shape::{Array, Struct};
use crate::guard::shape::{Api, BOOL, I16, I32, I64, STR, field};

/// See the module.
pub(in crate::guard) const APIS: &[Api] = &[
    Api {
        key: 22,
        name: "InitProducerId",
        min: 0,
        max: 5,
        flexible: 2,
        fields: &[
            field("transactional_id", STR),
            field("transaction_timeout_ms", I32),
            field("producer_id", I64).since(3),
            field("producer_epoch", I16).since(3),
        ],
    },
    Api {
        key: 24,
        name: "AddPartitionsToTxn",
        min: 0,
        max: 5,
        flexible: 3,
        fields: &[
            field(
                "transactions",
                Array(&Struct(&[
                    field("transactional_id", STR).since(4),
                    field("producer_id", I64).since(4),
                    field("producer_epoch", I16).since(4),
                    field("verify_only", BOOL).since(4),
                    field("topics", Array(&Struct(&[field("name", STR), field("partitions", Array(&I32))]))).since(4),
                ])),
            )
            .since(4),
            field("v3_and_below_transactional_id", STR).until(3),
            field("v3_and_below_producer_id", I64).until(3),
            field("v3_and_below_producer_epoch", I16).until(3),
            field("v3_and_below_topics", Array(&Struct(&[field("name", STR), field("partitions", Array(&I32))])))
                .until(3),
        ],
    },
    Api {
        key: 25,
        name: "AddOffsetsToTxn",
        min: 0,
        max: 4,
        flexible: 3,
        fields: &[
            field("transactional_id", STR),
            field("producer_id", I64),
            field("producer_epoch", I16),
            field("group_id", STR),
        ],
    },
    Api {
        key: 26,
        name: "EndTxn",
        min: 0,
        max: 5,
        flexible: 3,
        fields: &[
            field("transactional_id", STR),
            field("producer_id", I64),
            field("producer_epoch", I16),
            field("committed", BOOL),
        ],
    },
    Api {
        key: 27,
        name: "WriteTxnMarkers",
        min: 1,
        max: 1,
        flexible: 0,
        fields: &[field(
            "markers",
            Array(&Struct(&[
                field("producer_id", I64),
                field("producer_epoch", I16),
                field("transaction_result", BOOL),
                field("topics", Array(&Struct(&[field("name", STR), field("partition_indexes", Array(&I32))]))),
                field("coordinator_epoch", I32),
            ])),
        )],
    },
    Api {
        key: 28,
        name: "TxnOffsetCommit",
        min: 0,
        max: 5,
        flexible: 3,
        fields: &[
            field("transactional_id", STR),
            field("group_id", STR),
            field("producer_id", I64),
            field("producer_epoch", I16),
            field("generation_id", I32).since(3),
            field("member_id", STR).since(3),
            field("group_instance_id", STR).since(3),
            field(
                "topics",
                Array(&Struct(&[
                    field("name", STR),
                    field(
                        "partitions",
                        Array(&Struct(&[
                            field("partition_index", I32),
                            field("committed_offset", I64),
                            field("committed_leader_epoch", I32).since(2),
                            field("committed_metadata", STR),
                        ])),
                    ),
                ])),
            ),
        ],
    },
    Api {
        key: 61,
        name: "DescribeProducers",
        min: 0,
        max: 0,
        flexible: 0,
        fields: &[field("topics", Array(&Struct(&[field("name", STR), field("partition_indexes", Array(&I32))])))],
    },
    Api {
        key: 65,
        name: "DescribeTransactions",
        min: 0,
        max: 0,
        flexible: 0,
        fields: &[field("transactional_ids", Array(&STR))],
    },
    Api {
        key: 66,
        name: "ListTransactions",
        min: 0,
        max: 2,
        flexible: 0,
        fields: &[
            field("state_filters", Array(&STR)),
            field("producer_id_filters", Array(&I64)),
            field("duration_filter", I64).since(1),
            field("transactional_id_pattern", STR).since(2),
        ],
    },
];
