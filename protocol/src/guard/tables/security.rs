//! Authentication, ACLs, credentials and quotas.

use crate::guard::shape::Shape::{Array, Struct};
use crate::guard::shape::{Api, BOOL, BYTES, F64, I8, I32, NEVER, STR, field};

/// See the module.
pub(in crate::guard) const APIS: &[Api] = &[
    Api { key: 17, name: "SaslHandshake", min: 0, max: 1, flexible: NEVER, fields: &[field("mechanism", STR)] },
    Api { key: 36, name: "SaslAuthenticate", min: 0, max: 2, flexible: 2, fields: &[field("auth_bytes", BYTES)] },
    Api {
        key: 29,
        name: "DescribeAcls",
        min: 1,
        max: 3,
        flexible: 2,
        fields: &[
            field("resource_type_filter", I8),
            field("resource_name_filter", STR),
            field("pattern_type_filter", I8),
            field("principal_filter", STR),
            field("host_filter", STR),
            field("operation", I8),
            field("permission_type", I8),
        ],
    },
    Api {
        key: 30,
        name: "CreateAcls",
        min: 1,
        max: 3,
        flexible: 2,
        fields: &[field(
            "creations",
            Array(&Struct(&[
                field("resource_type", I8),
                field("resource_name", STR),
                field("resource_pattern_type", I8),
                field("principal", STR),
                field("host", STR),
                field("operation", I8),
                field("permission_type", I8),
            ])),
        )],
    },
    Api {
        key: 31,
        name: "DeleteAcls",
        min: 1,
        max: 3,
        flexible: 2,
        fields: &[field(
            "filters",
            Array(&Struct(&[
                field("resource_type_filter", I8),
                field("resource_name_filter", STR),
                field("pattern_type_filter", I8),
                field("principal_filter", STR),
                field("host_filter", STR),
                field("operation", I8),
                field("permission_type", I8),
            ])),
        )],
    },
    Api {
        key: 50,
        name: "DescribeUserScramCredentials",
        min: 0,
        max: 0,
        flexible: 0,
        fields: &[field("users", Array(&Struct(&[field("name", STR)])))],
    },
    Api {
        key: 51,
        name: "AlterUserScramCredentials",
        min: 0,
        max: 0,
        flexible: 0,
        fields: &[
            field("deletions", Array(&Struct(&[field("name", STR), field("mechanism", I8)]))),
            field(
                "upsertions",
                Array(&Struct(&[
                    field("name", STR),
                    field("mechanism", I8),
                    field("iterations", I32),
                    field("salt", BYTES),
                    field("salted_password", BYTES),
                ])),
            ),
        ],
    },
    Api {
        key: 48,
        name: "DescribeClientQuotas",
        min: 0,
        max: 1,
        flexible: 1,
        fields: &[
            field(
                "components",
                Array(&Struct(&[field("entity_type", STR), field("match_type", I8), field("_match", STR)])),
            ),
            field("strict", BOOL),
        ],
    },
    Api {
        key: 49,
        name: "AlterClientQuotas",
        min: 0,
        max: 1,
        flexible: 1,
        fields: &[
            field(
                "entries",
                Array(&Struct(&[
                    field("entity", Array(&Struct(&[field("entity_type", STR), field("entity_name", STR)]))),
                    field("ops", Array(&Struct(&[field("key", STR), field("value", F64), field("remove", BOOL)]))),
                ])),
            ),
            field("validate_only", BOOL),
        ],
    },
];
