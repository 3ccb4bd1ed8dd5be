//! Share groups.

use crate::guard::shape::Shape::{self, Array, Struct};
use crate::guard::shape::{Api, BOOL, Field, I8, I32, I64, STR, UUID, field};

/// What a member says of records of one partition.
const ACKNOWLEDGEMENTS: Field = field(
    "acknowledgement_batches",
    Array(&Struct(&[field("first_offset", I64), field("last_offset", I64), field("acknowledge_types", Array(&I8))])),
);

/// Partitions of topics, by id.
const FORGOTTEN: Shape = Array(&Struct(&[field("topic_id", UUID), field("partitions", Array(&I32))]));

/// See the module.
pub(in crate::guard) const APIS: &[Api] = &[
    Api {
        key: 76,
        name: "ShareGroupHeartbeat",
        min: 1,
        max: 1,
        flexible: 0,
        fields: &[
            field("group_id", STR),
            field("member_id", STR),
            field("member_epoch", I32),
            field("rack_id", STR),
            field("subscribed_topic_names", Array(&STR)),
        ],
    },
    Api {
        key: 77,
        name: "ShareGroupDescribe",
        min: 1,
        max: 1,
        flexible: 0,
        fields: &[field("group_ids", Array(&STR)), field("include_authorized_operations", BOOL)],
    },
    Api {
        key: 78,
        name: "ShareFetch",
        min: 1,
        max: 1,
        flexible: 0,
        fields: &[
            field("group_id", STR),
            field("member_id", STR),
            field("share_session_epoch", I32),
            field("max_wait_ms", I32),
            field("min_bytes", I32),
            field("max_bytes", I32),
            field("max_records", I32),
            field("batch_size", I32),
            field(
                "topics",
                Array(&Struct(&[
                    field("topic_id", UUID),
                    field("partitions", Array(&Struct(&[field("partition_index", I32), ACKNOWLEDGEMENTS]))),
                ])),
            ),
            field("forgotten_topics_data", FORGOTTEN),
        ],
    },
    Api {
        key: 79,
        name: "ShareAcknowledge",
        min: 1,
        max: 1,
        flexible: 0,
        fields: &[
            field("group_id", STR),
            field("member_id", STR),
            field("share_session_epoch", I32),
            field(
                "topics",
                Array(&Struct(&[
                    field("topic_id", UUID),
                    field("partitions", Array(&Struct(&[field("partition_index", I32), ACKNOWLEDGEMENTS]))),
                ])),
            ),
        ],
    },
    Api {
        key: 90,
        name: "DescribeShareGroupOffsets",
        min: 0,
        max: 0,
        flexible: 0,
        fields: &[field(
            "groups",
            Array(&Struct(&[
                field("group_id", STR),
                field("topics", Array(&Struct(&[field("topic_name", STR), field("partitions", Array(&I32))]))),
            ])),
        )],
    },
    Api {
        key: 91,
        name: "AlterShareGroupOffsets",
        min: 0,
        max: 0,
        flexible: 0,
        fields: &[
            field("group_id", STR),
            field(
                "topics",
                Array(&Struct(&[
                    field("topic_name", STR),
                    field("partitions", Array(&Struct(&[field("partition_index", I32), field("start_offset", I64)]))),
                ])),
            ),
        ],
    },
    Api {
        key: 92,
        name: "DeleteShareGroupOffsets",
        min: 0,
        max: 0,
        flexible: 0,
        fields: &[field("group_id", STR), field("topics", Array(&Struct(&[field("topic_name", STR)])))],
    },
];
