//! [`Places`]: where the request of a procedure names projects and domains, from the table.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use crate::rules::Procedure;

/// A field: its name and number in the protos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) repeated: bool,
}

/// A message that names a project and a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The fields that lead to the message; empty for the request itself.
    pub(super) message: Vec<Field>,
    pub(super) project: Field,
    /// `None` if the message names no domain.
    pub(super) domain: Option<Field>,
    /// Whether the message refers to something beside what the request is for. Such a reference
    /// can be left out.
    pub(super) is_reference: bool,
}

/// Where the request of a procedure names projects and domains.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) named: Vec<Place>,
    /// Fields whose presence makes the request reach beyond projects.
    pub(super) wider: Vec<Vec<Field>>,
    /// The field with a `flyte://` URL that names the project.
    pub(super) flyte_url: Option<Field>,
}

/// The message of an `also` path ends with one of these fields, and has its project and domain in
/// these numbers. Any other is an identifier of the core or of a run, with 2 and 3.
const OTHER_REFERENCES: [(&str, u32, u32); 6] = [
    // ArtifactKey
    ("artifact_id.key", 1, 2),
    ("artifact_ids.artifact_key", 1, 2),
    // WorkflowExecutionIdentifier
    ("parent_node_execution.execution_id", 1, 2),
    ("metadata.reference_execution", 1, 2),
    ("workflow_node_metadata.execution_id", 1, 2),
    // DatasetID
    ("tags.dataset", 1, 3),
];

/// Members of a oneof that name no project, which the table does not have.
const WIDER: [(&str, &str); 2] = [
    ("/flyteidl2.app.AppService/Get", "ingress(2)"),
    ("/flyteidl2.cluster.ClusterService/SelectCluster", "org_id(1)"),
];

impl Places {
    /// The places of a procedure.
    pub(super) fn of(procedure: &'static Procedure) -> Arc<Self> {
        static KNOWN: LazyLock<Mutex<HashMap<&'static str, Arc<Places>>>> =
            LazyLock::new(Mutex::default);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let places =
            known.entry(&procedure.path).or_insert_with(|| Arc::new(Self::read(procedure)));
        Arc::clone(places)
    }

    fn read(procedure: &'static Procedure) -> Self {
        let domains: Vec<_> = members(procedure.domain).map(path).collect();
        let mut places = Self::default();
        for mut message in members(procedure.project).map(path) {
            let Some(project) = message.pop() else { continue };
            let domain = domains.iter().find_map(|of_domain| {
                let (field, of_message) = of_domain.split_last()?;
                (*of_message == message).then(|| field.clone())
            });
            places.named.push(Place { message, project, domain, is_reference: false });
        }
        for message in members(procedure.also).map(path) {
            let names: Vec<_> = message.iter().map(|field| field.name).collect();
            let last = names[names.len().saturating_sub(2)..].join(".");
            let other = OTHER_REFERENCES.iter().find(|(end, ..)| *end == last);
            let (project, domain) =
                other.map_or((2, 3), |(_, project, domain)| (*project, *domain));
            let field = |name, number| Field { name, number, repeated: false };
            places.named.push(Place {
                message,
                project: field("project", project),
                domain: Some(field("domain", domain)),
                is_reference: true,
            });
        }
        for term in procedure.org.split(" + ") {
            let alternatives: Vec<_> = term.split(" | ").map(path).collect();
            if alternatives.len() < 2 {
                continue;
            }
            for mut alternative in alternatives {
                let leaf = alternative.pop();
                let names_project = places.named.iter().any(|place| place.message == alternative);
                if !names_project || alternative.is_empty() {
                    // An organization itself, or the message that names one.
                    if alternative.is_empty() {
                        alternative.extend(leaf);
                    }
                    places.wider.push(alternative);
                }
            }
        }
        let wider = WIDER.iter().filter(|(path, _)| *path == &*procedure.path);
        places.wider.extend(wider.map(|(_, field)| path(field)));
        if procedure.has("flyte-url") {
            places.flyte_url = Some(Field { name: "flyte_url", number: 1, repeated: false });
        }
        places
    }
}

/// The members of a column, in order.
fn members(column: &'static str) -> impl Iterator<Item = &'static str> {
    column.split(" + ").flat_map(|term| term.split(" | ")).filter(|member| !member.is_empty())
}

/// Reads `field(number).field(number)`.
fn path(text: &'static str) -> Vec<Field> {
    text.split('.').filter_map(field).collect()
}

fn field(text: &'static str) -> Option<Field> {
    let (name, number) = text.strip_suffix(')')?.split_once('(')?;
    let number = number.parse().ok()?;
    let (name, repeated) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
    Some(Field { name, number, repeated })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(path: &str) -> Arc<Places> {
        Places::of(Procedure::find(path).unwrap())
    }

    fn shown(place: &Place) -> String {
        let names = place.message.iter().chain([&place.project]).chain(&place.domain);
        names.map(|field| format!("{}{}", field.name, field.number)).collect::<Vec<_>>().join(".")
    }

    #[test]
    fn every_place_of_the_table_is_read() {
        for procedure in Procedure::all() {
            let places = Places::of(procedure);
            let count = |column: &'static str| members(column).count();
            let named = places.named.iter().filter(|place| !place.is_reference);
            assert_eq!(named.clone().count(), count(procedure.project), "{}", procedure.path);
            assert_eq!(places.named.len() - named.clone().count(), count(procedure.also));
            // Only the project of a project has no domain.
            let without = named.filter(|place| place.domain.is_none()).count();
            assert!(without == 0 || procedure.domain.is_empty(), "{}", procedure.path);
            for column in [procedure.project, procedure.domain, procedure.also, procedure.org] {
                for member in members(column) {
                    assert_eq!(path(member).len(), member.split('.').count(), "{member}");
                }
            }
        }
    }

    #[test]
    fn a_run_is_created_in_every_named_project() {
        let places = places("/flyteidl2.workflow.RunService/CreateRun");
        let named: Vec<_> = places.named.iter().map(shown).collect();
        assert_eq!(
            named,
            [
                "run_id1.project2.domain3",
                "project_id6.name3.domain2",
                "task_id2.project2.domain3",
                "trigger_name7.project2.domain3",
                "run_spec5.related_to15.project2.domain3",
                "run_spec5.relation18.related_to1.project2.domain3",
                "task_spec3.task_template1.id1.project2.domain3",
                "task_spec3.task_template1.metadata3.image_build_run19.project2.domain3",
            ]
        );
        assert_eq!(places.wider, Vec::<Vec<Field>>::new());
    }

    #[test]
    fn scopes_beyond_projects_are_known() {
        let wider = |path: &str| -> Vec<String> {
            let places = places(path);
            let names = |fields: &Vec<Field>| {
                fields.iter().map(|field| field.name).collect::<Vec<_>>().join(".")
            };
            places.wider.iter().map(names).collect()
        };
        assert_eq!(wider("/flyteidl2.workflow.RunService/ListRuns"), ["org"]);
        assert_eq!(wider("/flyteidl2.workflow.RunService/WatchRuns"), ["org", "cluster_id"]);
        assert_eq!(wider("/flyteidl2.task.TaskService/ListTasks"), ["org"]);
        assert_eq!(wider("/flyteidl2.trigger.TriggerService/ListTriggers"), ["org"]);
        assert_eq!(wider("/flyteidl2.app.AppService/List"), ["org", "cluster_id"]);
        assert_eq!(wider("/flyteidl2.app.AppService/Get"), ["ingress"]);
        assert_eq!(
            wider("/flyteidl2.cluster.ClusterService/SelectCluster"),
            ["cluster_pool_id", "domain_id", "cluster_id", "org_id"]
        );
        assert_eq!(wider("/flyteidl2.secret.SecretService/ListSecrets"), Vec::<String>::new());
    }
}
