//! Views in the topic registry: made with their source at hand, and changed in one step with it.
use std::sync::Arc;

use super::{Snapshot, Topic, TopicError, Topics};
use crate::tables::{Schemas, TopicTable};
use crate::topic_config::{TopicConfigs, TopicSettings};
use crate::views::{self, StoredView, View, ViewError, ViewSettings, ViewState};
use uuid::Uuid;
use weir_protocol::ids::TopicId;

impl Topic {
    /// The same topic with another table.
    pub(super) fn with_table(&self, table: TopicTable) -> Topic {
        let (configs, settings, view) = (self.configs.clone(), self.settings.clone(), self.view.clone());
        Topic { id: self.id, name: self.name.clone(), partitions: self.partitions, configs, settings, table, view }
    }

    fn as_view_of(&self, source: &Topic, view: View) -> Topic {
        let partitions = source.partitions;
        Topic { partitions, view: Some(Arc::new(view)), ..self.with_table(TopicTable::default()) }
    }
}

/// A view as it would be made.
pub(super) fn plan(
    snapshot: &Snapshot,
    schemas: &Schemas,
    name: &str,
    partitions: Option<i32>,
    configs: TopicConfigs,
    settings: TopicSettings,
) -> Result<Topic, TopicError> {
    let (view, source) = bound(snapshot, schemas, name, &settings, None)?;
    if let Some(wanted) = partitions.filter(|wanted| *wanted != source.partitions) {
        let (source_name, partitions) = (source.name.clone(), source.partitions);
        return Err(ViewError::Partitions { source_name, partitions, wanted }.into());
    }
    let (id, table, partitions) = (TopicId(Uuid::new_v4()), TopicTable::default(), source.partitions);
    Ok(Topic { id, name: name.to_owned(), partitions, configs, settings, table, view: Some(Arc::new(view)) })
}

/// A topic with other configs, if it is or was to be a view.
pub(super) fn replan(
    snapshot: &Snapshot,
    schemas: &Schemas,
    topic: &Topic,
    configs: TopicConfigs,
    settings: TopicSettings,
) -> Result<Topic, TopicError> {
    let name = || topic.name.clone();
    let Some(before) = &topic.view else { return Err(ViewError::NotAView { topic: name() }.into()) };
    if settings.view.as_ref().is_none_or(|view| view.source != before.source_name) {
        return Err(ViewError::StaysView { topic: name(), source_name: before.source_name.clone() }.into());
    }
    // Other settings of the same expressions still mean the same columns.
    let same = settings.view == topic.settings.view;
    let (view, source) = bound(snapshot, schemas, &topic.name, &settings, Some(&**before).filter(|_| same))?;
    Ok(Topic { configs, settings, ..topic.as_view_of(&source, view) })
}

/// A view at start: nothing stops it.
pub(super) fn reload(snapshot: &Snapshot, topic: Topic, stored: &StoredView, schemas: &Schemas) -> Topic {
    let source_name = topic.settings.view.as_ref().map(|view| view.source.clone()).unwrap_or_default();
    let broken = |reason: String| {
        tracing::error!(view = topic.name, source = source_name, reason, "the view cannot be read");
        let (columns, state) = (stored.columns.clone(), ViewState::Broken { reason });
        View { source: TopicId(stored.source), source_name: source_name.clone(), columns, state }
    };
    let known = View {
        source: TopicId(stored.source),
        source_name: source_name.clone(),
        columns: stored.columns.clone(),
        state: ViewState::Broken { reason: String::new() },
    };
    let Some(source) = snapshot.by_id.get(&known.source) else {
        let view = broken(format!("its source `{source_name}` does not exist"));
        return Topic { view: Some(Arc::new(view)), ..topic };
    };
    let view = match &topic.settings.view {
        Some(settings) => views::bind(&topic.name, settings, source, Some(&known), schemas)
            .unwrap_or_else(|error| broken(error.to_string())),
        None => broken("its settings are not valid".to_owned()),
    };
    topic.as_view_of(source, view)
}

fn bound(
    snapshot: &Snapshot,
    schemas: &Schemas,
    name: &str,
    settings: &TopicSettings,
    before: Option<&View>,
) -> Result<(View, Arc<Topic>), TopicError> {
    let Some(settings) = &settings.view else { return Err(ViewError::NoSource { source_name: String::new() }.into()) };
    let source = source_of(snapshot, settings)?;
    Ok((views::bind(name, settings, &source, before, schemas)?, source))
}

fn source_of(snapshot: &Snapshot, settings: &ViewSettings) -> Result<Arc<Topic>, ViewError> {
    let missing = || ViewError::NoSource { source_name: settings.source.clone() };
    snapshot.by_name.get(&settings.source).cloned().ok_or_else(missing)
}

/// Whether a topic has partitions and records of its own.
pub fn own(topic: &Topic, what: &'static str) -> Result<(), ViewError> {
    match &topic.view {
        None => Ok(()),
        Some(view) => {
            let (topic, source_name) = (topic.name.clone(), view.source_name.clone());
            Err(ViewError::NothingOfItsOwn { topic, source_name, what })
        }
    }
}

impl Topics {
    /// Views of a topic.
    pub fn views_of(&self, source: &Topic) -> Vec<Arc<Topic>> {
        let of_source = |topic: &&Arc<Topic>| topic.view.as_ref().is_some_and(|view| view.source == source.id);
        self.snapshot.load().by_name.values().filter(of_source).cloned().collect()
    }

    /// A source goes after its views.
    pub(super) fn check_unused(&self, topic: &Topic) -> Result<(), ViewError> {
        let views: Vec<String> = self.views_of(topic).iter().map(|view| format!("`{}`", view.name)).collect();
        match views.is_empty() {
            true => Ok(()),
            false => Err(ViewError::InUse { topic: topic.name.clone(), views: views.join(", ") }),
        }
    }

    /// The views of `source` as they are once it is what is given here.
    pub(super) fn following(&self, source: &Topic) -> Result<Vec<Arc<Topic>>, ViewError> {
        let follow = |topic: Arc<Topic>| {
            let (Some(before), Some(settings)) = (&topic.view, &topic.settings.view) else { return Ok(topic) };
            let view = views::bind(&topic.name, settings, source, Some(before), &self.schemas);
            let failed =
                |error: ViewError| ViewError::CannotFollow { view: topic.name.clone(), reason: error.to_string() };
            Ok(Arc::new(topic.as_view_of(source, view.map_err(failed)?)))
        };
        self.views_of(source).into_iter().map(follow).collect()
    }

    /// Registers the schema of a view that has none yet, and lets the view be read. Call it without the lock of changes: a
    /// registration may come here too, and holds what this waits for.
    pub async fn register_view(&self, name: &str) -> Result<(), TopicError> {
        let wanted = |topics: &Topics| match topics.get(name)?.view.as_ref()?.state.clone() {
            ViewState::Unregistered { subject, schema } => Some((subject, schema)),
            ViewState::Ready(_) | ViewState::Broken { .. } => None,
        };
        let Some((subject, schema)) = wanted(self) else { return Ok(()) };
        let registered = self.schemas.register(&subject, &schema).await;
        let _one_at_a_time = self.changes.lock().await;
        // It may have changed, or gone: whoever did that comes here as well.
        if wanted(self).is_none_or(|now| now.1 != schema) {
            return Ok(());
        }
        let Some(topic) = self.get(name) else { return Ok(()) };
        let (Some(before), Some(settings)) = (&topic.view, &topic.settings.view) else { return Ok(()) };
        let failed = |reason: String| ViewError::Schema { reason };
        let bound = match (registered, self.by_id(before.source)) {
            (Ok(()), Some(source)) => {
                views::bind(name, settings, &source, Some(before), &self.schemas).and_then(|view| match &view.state {
                    ViewState::Unregistered { subject, .. } => {
                        Err(failed(format!("another schema is the newest of subject `{subject}`")))
                    }
                    ViewState::Ready(_) | ViewState::Broken { .. } => Ok(topic.as_view_of(&source, view)),
                })
            }
            (Ok(()), None) => Ok(topic.with_table(TopicTable::default())),
            (Err(reason), _) => Err(failed(reason)),
        };
        match bound {
            Ok(next) => self.publish_all(&Arc::new(next), &[]),
            Err(error) => {
                let state = ViewState::Broken { reason: error.to_string() };
                let view = View { state, ..View::clone(before) };
                let next = Topic { view: Some(Arc::new(view)), ..topic.with_table(TopicTable::default()) };
                self.publish_all(&Arc::new(next), &[]);
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// A view that was just made is there as a whole, or not at all.
    pub(super) async fn complete_view(&self, topic: Arc<Topic>) -> Result<Arc<Topic>, TopicError> {
        if let Err(error) = self.register_view(&topic.name).await {
            // It was not told to anybody; if it cannot be deleted either, it says that it cannot be read.
            if let Err(error) = self.delete(&topic).await {
                tracing::warn!(view = topic.name, %error, "a view that could not be completed is left");
            }
            return Err(error);
        }
        Ok(self.get(&topic.name).unwrap_or(topic))
    }

    /// The same for each view that needs it, in the background: the change that made them so has been answered, or is part
    /// of a registration that must end first.
    pub fn register_views(self: &Arc<Self>) {
        let unregistered = |topic: &Arc<Topic>| {
            topic.view.as_ref().is_some_and(|view| matches!(view.state, ViewState::Unregistered { .. }))
        };
        for topic in self.all().into_iter().filter(unregistered) {
            let this = self.clone();
            tokio::spawn(async move {
                if let Err(error) = this.register_view(&topic.name).await {
                    tracing::error!(view = topic.name, %error, "the view cannot be read");
                }
            });
        }
    }
}
