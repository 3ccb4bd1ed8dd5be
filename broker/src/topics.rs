//! The topic registry: names, ids, partition counts and configs, kept in the metadata store.
//!
//! Reads go to an immutable snapshot; changes are made one at a time: validate, make durable, tell the storage engine,
//! publish the next snapshot. A crash in between leaves either the old or the new state: partitions without data cost
//! nothing, and data of a deleted topic is dropped at the next start because the deletion is recorded first. So are the
//! offsets that groups committed for it, before a topic of the same name can be created.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::oneshot;
use uuid::Uuid;
use weir_lake_sink::{LakeRoots, SettingsError};
use weir_protocol::ids::TopicId;
use weir_storage::log::{Layout, LogConfig, Storage, TopicSpec};
use weir_storage::meta::{Condition, MetaError, MetadataStore, Write};
use weir_table::Table;

use crate::lake::check_key;
use crate::tables::{self, Schemas, TablePlanError, TopicTable};
use crate::topic_config::{TopicConfigError, TopicConfigs, TopicDefaults, TopicSettings};
use crate::views::{View, ViewError};

mod following;
mod image;
mod snapshot;
mod stored;
#[cfg(test)]
mod tests;
mod views;

use following::log_versions;
pub use image::TopicImage;
use snapshot::{PARTITIONS_TOTAL_MAX, Snapshot, check_count};
pub use stored::LoadedTopics;
use stored::{forget_key, key, put, tombstone};
pub use views::own;

/// Group offsets, in Kafka's record format.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Transactional ids, in Kafka's record format.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";
/// Where states of share partitions are kept.
pub const SHARES_TOPIC: &str = "__share_group_state";
const NAME_MAX_LEN: usize = 249;
/// One topic's partitions; a request for more is a mistake or an attack.
pub const PARTITIONS_MAX: i32 = 20_000;
/// Who keeps offsets that groups committed for topics.
#[async_trait]
pub trait CommittedOffsets: Send + Sync {
    /// Deletes every group's offsets of this topic; durable when it returns. The error is for people.
    async fn forget(&self, topic: &str) -> Result<(), String>;
}

/// One topic as it is now.
#[derive(Debug, PartialEq)]
pub struct Topic {
    pub id: TopicId,
    pub name: String,
    pub partitions: i32,
    pub configs: TopicConfigs,
    /// `configs`, resolved.
    pub settings: TopicSettings,
    /// What the topic is as a table.
    pub table: TopicTable,
    /// What it is as a view; `None`: it keeps records of its own.
    pub view: Option<Arc<View>>,
}

impl Topic {
    /// Topics that only the broker writes.
    pub fn is_internal(&self) -> bool {
        is_internal_name(&self.name)
    }

    /// The table, if records of this topic are rows.
    pub fn table(&self) -> Option<&Arc<Table>> {
        self.table.table()
    }

    /// Whose partitions have its records: a view's are those of its source.
    pub fn log_id(&self) -> TopicId {
        self.view.as_ref().map_or(self.id, |view| view.source)
    }

    fn spec(&self) -> TopicSpec {
        TopicSpec { topic: self.id, partitions: self.partitions, config: self.log_config() }
    }

    /// What its partition logs need to know, how rows become columns included.
    fn log_config(&self) -> Arc<LogConfig> {
        match self.settings.layout.of_table(self.table()) {
            Layout::Row => self.settings.log.clone(),
            layout => Arc::new(LogConfig { layout, ..LogConfig::clone(&self.settings.log) }),
        }
    }
}

pub fn is_internal_name(name: &str) -> bool {
    name == OFFSETS_TOPIC || name == TRANSACTIONS_TOPIC || name == SHARES_TOPIC
}

/// Kafka's rule for topic names.
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX_LEN
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[derive(Debug, Error)]
pub enum TopicError {
    #[error(
        "`{name}` is not a topic name: 1 to {NAME_MAX_LEN} of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, and not `.` or `..`"
    )]
    InvalidName { name: String },
    #[error("topic `{name}` already exists")]
    AlreadyExists { name: String },
    #[error(
        "topic `{name}` collides with `{existing}`: they differ only in `.` and `_`, which metrics cannot tell apart"
    )]
    Collides { name: String, existing: String },
    #[error("topic `{name}` does not exist")]
    Unknown { name: String },
    #[error("no topic has the id {id}")]
    UnknownId { id: TopicId },
    #[error("topic `{name}` is internal and cannot be {action}")]
    Internal { name: String, action: &'static str },
    #[error("{wanted} partitions for topic `{name}`: it must be from 1 to {PARTITIONS_MAX}")]
    InvalidPartitions { name: String, wanted: i32 },
    #[error("topic `{name}` has {current} partitions; the number can only grow, {wanted} was asked for")]
    PartitionsNotGrown { name: String, current: i32, wanted: i32 },
    #[error("the offsets committed for the deleted topic `{name}` cannot be deleted yet ({reason}); try again")]
    OldOffsets { name: String, reason: String },
    #[error("this broker holds at most {PARTITIONS_TOTAL_MAX} partitions; delete topics or ask for fewer partitions")]
    TooManyPartitions,
    #[error(transparent)]
    Config(#[from] TopicConfigError),
    #[error(transparent)]
    Table(#[from] TablePlanError),
    #[error(transparent)]
    View(#[from] ViewError),
    #[error(transparent)]
    Metadata(#[from] MetaError),
}

/// A topic that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// `None`: as many as the broker gives by default.
    pub partitions: Option<i32>,
    pub configs: TopicConfigs,
}

type Created = Result<Arc<Topic>, TopicError>;
type Asked = (NewTopic, oneshot::Sender<Created>);

/// Topics in one transaction of the metadata.
const CREATED_AT_ONCE: usize = 1_000;

/// The registry.
pub struct Topics {
    meta: Arc<dyn MetadataStore>,
    storage: Arc<Storage>,
    snapshot: ArcSwap<Snapshot>,
    /// One change at a time.
    changes: tokio::sync::Mutex<()>,
    /// Topics to be made by whoever changes something next.
    asked: Mutex<Vec<Asked>>,
    default_partitions: i32,
    defaults: ArcSwap<BTreeMap<String, String>>,
    /// What tables may be bound to.
    schemas: Schemas,
    /// Where topics may be tiered to.
    lake_roots: LakeRoots,
    offsets: OnceLock<Arc<dyn CommittedOffsets>>,
    /// What [`stored::FORGET_PREFIX`] names.
    forget: Mutex<BTreeSet<String>>,
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Topics({})", self.snapshot.load().by_name.len())
    }
}

impl Topics {
    pub fn new(
        meta: Arc<dyn MetadataStore>,
        storage: Arc<Storage>,
        loaded: LoadedTopics,
        default_partitions: i32,
    ) -> Topics {
        storage.bury(loaded.deleted);
        Topics {
            meta,
            storage,
            snapshot: ArcSwap::from_pointee(loaded.snapshot),
            changes: tokio::sync::Mutex::new(()),
            asked: Mutex::default(),
            default_partitions,
            defaults: ArcSwap::new(loaded.defaults),
            schemas: loaded.schemas,
            lake_roots: LakeRoots::any(),
            offsets: OnceLock::new(),
            forget: Mutex::new(loaded.forget),
        }
    }

    /// Topics are tiered to folders below these only.
    #[must_use]
    pub fn with_lake_roots(mut self, roots: LakeRoots) -> Topics {
        self.lake_roots = roots;
        self
    }

    /// Whether a topic may be tiered as `settings` say. One that was there stays: its table says why it is not written.
    fn check_lake(&self, before: Option<&TopicSettings>, settings: &TopicSettings) -> Result<(), TopicConfigError> {
        let path = |settings: &TopicSettings| settings.lake.as_ref().map(|lake| lake.path.clone());
        let in_rest = |settings: &TopicSettings| settings.lake.as_ref().is_some_and(|lake| lake.rest_catalog);
        if in_rest(settings) && !before.is_some_and(in_rest) {
            self.lake_roots.check_rest_catalog().map_err(SettingsError::from)?;
        }
        match path(settings) {
            Some(wanted) if before.and_then(path).as_ref() != Some(&wanted) => {
                Ok(self.lake_roots.check(&wanted).map_err(SettingsError::from)?)
            }
            _ => Ok(()),
        }
    }

    /// From now on a deletion also deletes the offsets committed for the topic. Finishes in the background the deletions
    /// that the last process did not.
    pub fn keep_offsets_in(self: &Arc<Self>, offsets: Arc<dyn CommittedOffsets>) {
        if self.offsets.set(offsets).is_err() {
            return;
        }
        let left = self.forget.lock().clone();
        let topics = self.clone();
        tokio::spawn(async move {
            for name in left {
                let _one_at_a_time = topics.changes.lock().await;
                if let Err(error) = topics.forget_offsets(&name).await {
                    tracing::warn!(topic = name, %error, "offsets of a deleted topic are left until its name is used again");
                }
            }
        });
    }

    /// Deletes what groups committed for the deleted topic of this name, if that is still to be done. Call it with the lock
    /// of changes held: nobody may commit for a new topic of the name meanwhile.
    async fn forget_offsets(&self, name: &str) -> Result<(), TopicError> {
        if !self.forget.lock().contains(name) {
            return Ok(());
        }
        if let Some(offsets) = self.offsets.get() {
            let failed = |reason| TopicError::OldOffsets { name: name.to_owned(), reason };
            offsets.forget(name).await.map_err(failed)?;
        }
        self.meta.transact(Vec::new(), vec![Write::Delete(forget_key(name))]).await?;
        self.forget.lock().remove(name);
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.snapshot.load().by_name.get(name).cloned()
    }

    pub fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.snapshot.load().by_id.get(&id).cloned()
    }

    /// All topics by name.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.snapshot.load().by_name.values().cloned().collect()
    }

    /// Names, ids and partition counts as they are now.
    pub fn image(&self) -> Arc<TopicImage> {
        let snapshot = self.snapshot.load();
        let topics = || snapshot.by_name.values().map(|t| (t.name.clone(), t.id, t.partitions));
        snapshot.image.get_or_init(|| Arc::new(TopicImage::new(snapshot.version, topics()))).clone()
    }

    pub fn default_partitions(&self) -> i32 {
        self.default_partitions
    }

    /// What creating this topic would be refused for, or the topic as it would be (with a new id).
    pub fn plan_create(&self, name: &str, partitions: Option<i32>, configs: TopicConfigs) -> Result<Topic, TopicError> {
        self.plan_in(&self.snapshot.load(), name, partitions, configs)
    }

    fn plan_in(
        &self,
        snapshot: &Snapshot,
        name: &str,
        partitions: Option<i32>,
        configs: TopicConfigs,
    ) -> Result<Topic, TopicError> {
        if !is_valid_name(name) {
            return Err(TopicError::InvalidName { name: name.to_owned() });
        }
        if snapshot.by_name.contains_key(name) {
            return Err(TopicError::AlreadyExists { name: name.to_owned() });
        }
        let flat = |name: &str| name.replace('.', "_");
        if name.contains(['.', '_'])
            && let Some(existing) = snapshot.by_name.keys().find(|other| flat(other) == flat(name))
        {
            return Err(TopicError::Collides { name: name.to_owned(), existing: existing.clone() });
        }
        let configs = configs.with_defaults(&self.defaults.load_full());
        configs.validate()?;
        let settings = configs.resolve();
        if settings.view.is_some() {
            return views::plan(snapshot, &self.schemas, name, partitions, configs, settings);
        }
        self.check_lake(None, &settings)?;
        let wanted = partitions.unwrap_or(self.default_partitions);
        check_count(snapshot, name, wanted, wanted)?;
        let table = match is_internal_name(name) {
            true => TopicTable::default(),
            false => tables::plan(name, &TopicTable::default(), &settings.table, &self.schemas, None)?,
        };
        check_key(None, &configs, &settings, &table).map_err(TopicConfigError::from)?;
        let id = TopicId(Uuid::new_v4());
        Ok(Topic { id, name: name.to_owned(), partitions: wanted, configs, settings, table, view: None })
    }

    pub async fn create(
        self: &Arc<Self>,
        name: &str,
        partitions: Option<i32>,
        configs: TopicConfigs,
    ) -> Result<Arc<Topic>, TopicError> {
        let new = NewTopic { name: name.to_owned(), partitions, configs };
        let mut results = self.create_all(vec![new]).await;
        // One result for each.
        results.pop().unwrap_or_else(|| Err(TopicError::Unknown { name: name.to_owned() }))
    }

    /// Creates topics, with one sync of the metadata for all that are asked for meanwhile; one that is refused does not stop
    /// the others. Results come in the order of `new`.
    pub async fn create_all(self: &Arc<Self>, new: Vec<NewTopic>) -> Vec<Result<Arc<Topic>, TopicError>> {
        let mut outcomes = Vec::with_capacity(new.len());
        {
            let mut asked = self.asked.lock();
            for new in new {
                let (done, outcome) = oneshot::channel();
                outcomes.push(outcome);
                asked.push((new, done));
            }
        }
        // A task of its own: a client that goes away must not leave others without an answer, or a topic half made.
        let this = self.clone();
        tokio::spawn(async move {
            let _one_at_a_time = this.changes.lock().await;
            // Those of others too: they find theirs done when their turn comes.
            let asked = std::mem::take(&mut *this.asked.lock());
            this.create_asked(asked).await;
        });
        let mut results = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let created = outcome.await.unwrap_or_else(|_| Err(MetaError::Closed.into()));
            results.push(match created {
                Ok(topic) if topic.view.is_some() => self.complete_view(topic).await,
                other => other,
            });
        }
        results
    }

    async fn create_asked(&self, asked: Vec<Asked>) {
        let mut planned: Vec<(Arc<Topic>, oneshot::Sender<Created>)> = Vec::with_capacity(asked.len());
        let mut refused = Vec::new();
        let mut next = self.snapshot.load_full();
        for (NewTopic { name, partitions, configs }, done) in asked {
            let planned_topic = match self.plan_in(&next, &name, partitions, configs) {
                // A topic of this name may have been deleted and not all of its offsets.
                Ok(topic) => self.forget_offsets(&name).await.map(|()| topic),
                Err(error) => Err(error),
            };
            match planned_topic {
                Ok(topic) => {
                    let topic = Arc::new(topic);
                    Arc::make_mut(&mut next).add(&topic);
                    planned.push((topic, done));
                }
                Err(error) => refused.push((done, error)),
            }
        }
        for chunk in chunks_of(planned, CREATED_AT_ONCE) {
            let conditions = chunk.iter().map(|(topic, _)| Condition::Absent(key(&topic.name))).collect();
            let writes = chunk.iter().flat_map(|(topic, _)| {
                [put(topic)].into_iter().chain(tables::writes(topic.id, &[], &topic.table.versions))
            });
            let writes = writes.collect();
            if let Err(error) = self.meta.transact(conditions, writes).await {
                for (_, done) in chunk {
                    let _ = done.send(Err(error.again().into())); // the caller may have gone
                }
                continue;
            }
            let mut snapshot = self.snapshot.load().next();
            for (topic, _) in &chunk {
                if topic.view.is_none() {
                    self.storage.create_partitions(topic.spec());
                }
                snapshot.add(topic);
                tracing::info!(topic = topic.name, id = %topic.id, partitions = topic.partitions, "topic created");
            }
            self.snapshot.store(Arc::new(snapshot));
            for (topic, done) in chunk {
                let _ = done.send(Ok(topic)); // the caller may have gone
            }
        }
        // Last: one of them may be told that a topic exists that was made just now, and looks for it.
        for (done, error) in refused {
            let _ = done.send(Err(error)); // the caller may have gone
        }
    }

    /// Removes the records of deletions that no start needs any more.
    pub async fn forget_deleted(&self) -> Result<(), MetaError> {
        let topics = self.storage.unmentioned();
        for topics in topics.chunks(CREATED_AT_ONCE) {
            let writes = topics.iter().map(|topic| Write::Delete(tombstone(*topic))).collect();
            self.meta.transact(Vec::new(), writes).await?;
            self.storage.forget_graves(topics);
        }
        Ok(())
    }

    /// Creates a topic that a client mentioned, or returns it if somebody else just did.
    pub async fn auto_create(self: &Arc<Self>, name: &str) -> Result<Arc<Topic>, TopicError> {
        match self.create(name, None, TopicConfigs::default()).await {
            Err(TopicError::AlreadyExists { name }) => self.get(&name).ok_or(TopicError::Unknown { name }),
            other => other,
        }
    }

    /// Makes an internal topic unless it is there.
    pub async fn ensure_internal(
        self: &Arc<Self>,
        name: &str,
        partitions: i32,
        configs: TopicConfigs,
    ) -> Result<Arc<Topic>, TopicError> {
        match self.get(name) {
            Some(topic) => Ok(topic),
            None => self.create(name, Some(partitions), configs).await,
        }
    }

    /// Records the deletion, then drops the data and the offsets committed for it.
    pub async fn delete(&self, topic: &Topic) -> Result<(), TopicError> {
        if topic.is_internal() {
            return Err(TopicError::Internal { name: topic.name.clone(), action: "deleted" });
        }
        let _one_at_a_time = self.changes.lock().await;
        if self.by_id(topic.id).is_none() {
            return Err(TopicError::Unknown { name: topic.name.clone() });
        }
        self.check_unused(topic)?;
        let mut writes = vec![
            Write::Delete(key(&topic.name)),
            Write::Put(tombstone(topic.id), topic.name.clone().into_bytes()),
            Write::Put(forget_key(&topic.name), Vec::new()),
        ];
        // As it is now: the caller may have looked before the last change.
        let current = self.by_id(topic.id);
        let versions = current.as_ref().map_or(&topic.table.versions, |current| &current.table.versions);
        writes.extend(tables::removals(topic.id, versions));
        self.meta.transact(Vec::new(), writes).await?;
        self.forget.lock().insert(topic.name.clone());
        self.snapshot.store(Arc::new(self.snapshot.load().without(topic)));
        self.storage.delete_topic(topic.id);
        tracing::info!(topic = topic.name, id = %topic.id, "topic deleted");
        if let Err(error) = self.forget_offsets(&topic.name).await {
            tracing::warn!(topic = topic.name, %error, "offsets of a deleted topic are left until its name is used again");
        }
        Ok(())
    }

    /// What growing this topic would be refused for.
    pub fn plan_partitions(&self, name: &str, wanted: i32) -> Result<Arc<Topic>, TopicError> {
        let topic = self.get(name).ok_or_else(|| TopicError::Unknown { name: name.to_owned() })?;
        if topic.is_internal() {
            return Err(TopicError::Internal { name: name.to_owned(), action: "given more partitions" });
        }
        views::own(&topic, "partitions")?;
        if wanted <= topic.partitions {
            return Err(TopicError::PartitionsNotGrown { name: name.to_owned(), current: topic.partitions, wanted });
        }
        check_count(&self.snapshot.load(), name, wanted, wanted - topic.partitions)?;
        Ok(topic)
    }

    pub async fn create_partitions(&self, name: &str, wanted: i32) -> Result<Arc<Topic>, TopicError> {
        let _one_at_a_time = self.changes.lock().await;
        let topic = self.plan_partitions(name, wanted)?;
        let next = Arc::new(Topic {
            id: topic.id,
            name: topic.name.clone(),
            partitions: wanted,
            configs: topic.configs.clone(),
            settings: topic.settings.clone(),
            table: topic.table.clone(),
            view: None,
        });
        let views = self.following(&next)?;
        self.meta.transact(Vec::new(), vec![put(&next)]).await?;
        self.storage.create_partitions(next.spec());
        self.publish_all(&next, &views);
        Ok(next)
    }

    /// What a topic would be with these configs.
    pub fn plan_configs(&self, topic: &Topic, configs: TopicConfigs) -> Result<Topic, TopicError> {
        let configs = configs.with_defaults(&self.defaults.load_full());
        configs.validate()?;
        let settings = configs.resolve();
        if topic.view.is_some() || settings.view.is_some() {
            return views::replan(&self.snapshot.load(), &self.schemas, topic, configs, settings);
        }
        self.check_lake(Some(&topic.settings), &settings)?;
        let table = match topic.is_internal() {
            true => TopicTable::default(),
            false => tables::plan(&topic.name, &topic.table, &settings.table, &self.schemas, None)?,
        };
        check_key(Some(topic), &configs, &settings, &table).map_err(TopicConfigError::from)?;
        let (id, name, partitions) = (topic.id, topic.name.clone(), topic.partitions);
        let next = Topic { id, name, partitions, configs, settings, table, view: None };
        self.following(&next)?;
        Ok(next)
    }

    /// Replaces the configs of a topic by what `change` makes of them.
    pub async fn alter_configs(
        &self,
        name: &str,
        change: impl FnOnce(&TopicConfigs) -> Result<TopicConfigs, TopicConfigError> + Send,
    ) -> Result<Arc<Topic>, TopicError> {
        let _one_at_a_time = self.changes.lock().await;
        let topic = self.get(name).ok_or_else(|| TopicError::Unknown { name: name.to_owned() })?;
        let next = Arc::new(self.plan_configs(&topic, change(&topic.configs)?)?);
        let mut writes = vec![put(&next)];
        writes.extend(tables::writes(next.id, &topic.table.versions, &next.table.versions));
        let views = self.following(&next)?;
        self.meta.transact(Vec::new(), writes).await?;
        if next.view.is_none() {
            self.storage.update_config(next.id, next.log_config());
        }
        self.publish_all(&next, &views);
        log_versions(&topic, &next);
        Ok(next)
    }

    /// From now on topics have these defaults, those that exist too.
    pub async fn set_defaults(&self, defaults: TopicDefaults) {
        let _one_at_a_time = self.changes.lock().await;
        if **self.defaults.load() == *defaults {
            return;
        }
        self.defaults.store(defaults.clone());
        let mut snapshot = self.snapshot.load().next();
        for topic in self.all() {
            let configs = topic.configs.clone().with_defaults(&defaults);
            if let Err(error) = configs.validate() {
                tracing::warn!(topic = topic.name, %error, "configs of a topic do not go with the new defaults");
            }
            let settings = configs.resolve();
            let (name, table) = (topic.name.clone(), topic.table.clone());
            let view = topic.view.clone();
            let next =
                Arc::new(Topic { id: topic.id, name, partitions: topic.partitions, configs, settings, table, view });
            if next.view.is_none() && next.settings.log != topic.settings.log {
                self.storage.update_config(next.id, next.log_config());
            }
            snapshot.add(&next);
        }
        self.snapshot.store(Arc::new(snapshot));
    }

    /// A topic and the views of it change in one step.
    fn publish_all(&self, topic: &Arc<Topic>, views: &[Arc<Topic>]) {
        let mut next = self.snapshot.load().with(topic);
        views.iter().for_each(|view| next.add(view));
        self.snapshot.store(Arc::new(next));
    }
}

fn chunks_of<T>(items: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter();
    std::iter::from_fn(move || Some(items.by_ref().take(size).collect::<Vec<T>>()).filter(|chunk| !chunk.is_empty()))
}
