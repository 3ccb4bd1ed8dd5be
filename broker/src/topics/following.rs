//! Tables that follow a subject of the Schema Registry.
use std::sync::Arc;

use weir_table::table::WriterSchema;

use super::{Topic, TopicError, Topics};
use crate::tables::{self, TopicTable};

impl Topics {
    /// Topics whose tables follow a subject of the Schema Registry.
    pub fn bound_to(&self, subject: &str) -> Vec<Arc<Topic>> {
        let bound = |topic: &&Arc<Topic>| {
            let settings = &topic.settings.table;
            settings.is_typed() && settings.subject_of(&topic.name).is_some_and(|bound| bound == subject)
        };
        self.snapshot.load().by_name.values().filter(bound).cloned().collect()
    }

    /// What a topic's table would be with the newest schema of its subject, or with `candidate` in place of it.
    pub fn plan_table(&self, topic: &Topic, candidate: Option<WriterSchema>) -> Result<TopicTable, TopicError> {
        let table = tables::plan(&topic.name, &topic.table, &topic.settings.table, &self.schemas, candidate)?;
        self.following(&topic.with_table(table.clone()))?;
        Ok(table)
    }

    /// Lets a topic's table follow the newest schema of its subject.
    pub async fn follow_subject(&self, name: &str) -> Result<(), TopicError> {
        let _one_at_a_time = self.changes.lock().await;
        let Some(topic) = self.get(name) else { return Ok(()) };
        let table = self.plan_table(&topic, None)?;
        let writes: Vec<_> = tables::writes(topic.id, &topic.table.versions, &table.versions).collect();
        if !writes.is_empty() {
            self.meta.transact(Vec::new(), writes).await?;
        }
        let next = Arc::new(topic.with_table(table));
        let views = self.following(&next)?;
        self.storage.update_config(next.id, next.log_config());
        self.publish_all(&next, &views);
        log_versions(&topic, &next);
        Ok(())
    }

    /// Lets every table follow its subject: the last process may have ended between a registration and that.
    pub async fn follow_subjects(&self) {
        for topic in self.all() {
            if topic.settings.table.is_typed()
                && topic.settings.table.subject_of(&topic.name).is_some()
                && let Err(error) = self.follow_subject(&topic.name).await
            {
                tracing::warn!(topic = topic.name, %error, "the table stays at the version that it has");
            }
        }
    }
}

/// Says which version a table has now, if it is a new one.
pub(super) fn log_versions(before: &Topic, now: &Topic) {
    if let Some(schema) = now.table.versions.get(before.table.versions.len()..).and_then(|new| new.last()) {
        tracing::info!(
            topic = now.name,
            version = schema.version,
            columns = schema.fields.len(),
            "table schema changed"
        );
    }
}
