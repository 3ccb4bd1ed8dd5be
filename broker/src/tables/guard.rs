//! Between the Schema Registry and the tables that follow its subjects.
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use weir_registry::{Registered, RegistrationGuard, ResolvedSchema};

use super::schemas::writer;
use crate::topics::{Topic, Topics};

/// Refuses schemas that a bound topic cannot follow, and lets topics follow the others.
pub struct TableGuard {
    /// Weak: topics know the registry, which knows its guard.
    topics: Weak<Topics>,
}

impl TableGuard {
    pub fn new(topics: &Arc<Topics>) -> TableGuard {
        TableGuard { topics: Arc::downgrade(topics) }
    }
}

#[async_trait]
impl RegistrationGuard for TableGuard {
    async fn review(&self, subject: &str, schema: &ResolvedSchema) -> Result<(), String> {
        let Some(topics) = self.topics.upgrade() else { return Ok(()) };
        for topic in topics.bound_to(subject) {
            let refused = |reason: String| format!("topic `{}` cannot follow: {reason}", topic.name);
            let writer = writer(None, schema, topic.settings.table.format).map_err(refused)?;
            topics.plan_table(&topic, Some(writer)).map_err(|error| refused(error.to_string()))?;
        }
        Ok(())
    }

    async fn registered(&self, subject: &str, registered: Registered) {
        let Some(topics) = self.topics.upgrade() else { return };
        for topic in topics.bound_to(subject) {
            follow(&topics, &topic, registered).await;
        }
        // In the background: this is part of a registration.
        topics.register_views();
    }
}

/// It was reviewed, so this fails only if the topic changed since, or the disk does: rows of the new schema are then refused
/// if they do not fit, and the next start or registration tries again.
async fn follow(topics: &Topics, topic: &Topic, registered: Registered) {
    if let Err(error) = topics.follow_subject(&topic.name).await {
        tracing::error!(
            topic = topic.name, id = registered.id, version = registered.version, %error,
            "the topic's table does not follow the newest schema of its subject"
        );
    }
}
