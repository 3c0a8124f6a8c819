//! `cloudidl.common.Policy` and the requests about policies.

use gatekey_core::{ApiKey, Error, error::Kind};
use gatekey_credentials::Role;
use gatekey_proto::cloudidl::{
    authorizer::{self as wire, assign_identity_request, unassign_identity_request},
    common::{
        self, Action, ApplicationIdentifier, Organization, PolicyBinding, PolicyIdentifier,
        Resource, RoleIdentifier, RoleSpec, RoleType, identity::Principal, resource,
    },
};

/// The longest name that an error repeats, in characters.
const MAX_NAME: usize = 64;

/// The key and the role that an assignment names.
pub struct Assigned {
    pub client_id: Result<String, Error>,
    pub role: Result<Role, Error>,
    /// The organization of the policy.
    pub organization: String,
}

/// What an assignment names.
enum Named {
    Policy(PolicyIdentifier),
    Role(RoleIdentifier),
}

/// Converts the assignment of a request. The two requests have types of their own for it.
macro_rules! named {
    ($request:ident) => {
        |assignment| match assignment {
            $request::Assignment::PolicyId(id) => Named::Policy(*id),
            $request::Assignment::RoleId(id) => Named::Role(*id),
        }
    };
}

/// Converts the parts of an `AssignIdentity`.
pub fn assign(
    identity: Option<common::Identity>,
    assignment: Option<assign_identity_request::Assignment>,
) -> Assigned {
    assigned(identity, assignment.map(named!(assign_identity_request)))
}

/// Converts the parts of an `UnassignIdentity`.
pub fn unassign(
    identity: Option<common::Identity>,
    assignment: Option<unassign_identity_request::Assignment>,
) -> Assigned {
    assigned(identity, assignment.map(named!(unassign_identity_request)))
}

fn assigned(identity: Option<common::Identity>, named: Option<Named>) -> Assigned {
    let (role, organization) = match named {
        Some(Named::Policy(id)) => (policy_named(&id.name), id.organization),
        Some(Named::Role(id)) => (role_named(&id.name), id.organization),
        None => (Err(Error::invalid("assignment", "must name a policy")), String::new()),
    };
    Assigned { client_id: client_id(identity), role, organization }
}

/// The client id of the application that an identity names.
///
/// # Errors
/// [`Error::Invalid`] for an identity that is not an application. Not [`Error::NotFound`]:
/// Terraform would drop the resource of a person from its state.
pub fn client_id(identity: Option<common::Identity>) -> Result<String, Error> {
    match identity.and_then(|identity| identity.principal) {
        Some(Principal::ApplicationId(id)) => Ok(id.subject),
        Some(Principal::UserId(_)) | None => {
            Err(Error::invalid("identity", "must be an application: only API keys have policies"))
        }
    }
}

/// The role of a built-in policy.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Invalid`] for an empty name.
pub fn policy_named(name: &str) -> Result<Role, Error> {
    named(Kind::Policy, name)
}

/// The role with a name.
///
/// # Errors
/// [`Error::NotFound`], or [`Error::Invalid`] for an empty name.
pub fn role_named(name: &str) -> Result<Role, Error> {
    named(Kind::Role, name)
}

fn named(kind: Kind, name: &str) -> Result<Role, Error> {
    if name.is_empty() {
        return Err(Error::invalid("name", "must not be empty"));
    }
    name.parse().map_err(|_| {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
        Error::not_found(kind, &format!("{shown:?}"))
    })
}

/// The policies of a key, in the organization of the request.
pub fn from_key(key: &ApiKey, organization: &str) -> wire::IdentityAssignment {
    let id = ApplicationIdentifier { subject: key.client_id.to_string(), ..Default::default() };
    let principal = Principal::ApplicationId(Box::new(id));
    wire::IdentityAssignment {
        identity: common::Identity { principal: Some(principal), ..Default::default() }.into(),
        policies: key.roles.iter().map(|role| policy(role, organization)).collect(),
        ..Default::default()
    }
}

/// The built-in policy of a role: the role, for the whole organization.
pub fn policy(role: Role, organization: &str) -> common::Policy {
    let id = PolicyIdentifier {
        organization: organization.to_owned(),
        name: role.as_str().to_owned(),
        ..Default::default()
    };
    let resource = Organization { name: organization.to_owned(), ..Default::default() };
    let resource = resource::Resource::Organization(Box::new(resource));
    let binding = PolicyBinding {
        role_id: role_id(role, organization).into(),
        resource: Resource { resource: Some(resource), ..Default::default() }.into(),
        ..Default::default()
    };
    common::Policy {
        id: id.into(),
        bindings: vec![binding],
        description: description(role).to_owned(),
        ..Default::default()
    }
}

/// A built-in role.
pub fn role(role: Role, organization: &str) -> common::Role {
    let spec = RoleSpec { description: description(role).to_owned(), ..Default::default() };
    common::Role {
        id: role_id(role, organization).into(),
        role_spec: spec.into(),
        role_type: match role {
            Role::Admin => RoleType::ROLE_TYPE_ADMIN,
            Role::Contributor => RoleType::ROLE_TYPE_CONTRIBUTOR,
            Role::Viewer => RoleType::ROLE_TYPE_VIEWER,
            Role::Verifier => RoleType::ROLE_TYPE_CUSTOM,
        }
        .into(),
        actions: actions(role).iter().map(|action| (*action).into()).collect(),
        ..Default::default()
    }
}

fn role_id(role: Role, organization: &str) -> RoleIdentifier {
    RoleIdentifier {
        organization: organization.to_owned(),
        name: role.as_str().to_owned(),
        ..Default::default()
    }
}

fn description(role: Role) -> &'static str {
    match role {
        Role::Admin => "May manage all keys",
        Role::Contributor => "May read and write in Flyte",
        Role::Viewer => "May read in Flyte",
        Role::Verifier => "May introspect the tokens of all keys",
    }
}

/// The actions that Union's roles of the same names permit.
fn actions(role: Role) -> &'static [Action] {
    match role {
        Role::Admin => &[
            Action::ACTION_VIEW_FLYTE_INVENTORY,
            Action::ACTION_VIEW_FLYTE_EXECUTIONS,
            Action::ACTION_REGISTER_FLYTE_INVENTORY,
            Action::ACTION_CREATE_FLYTE_EXECUTIONS,
            Action::ACTION_ADMINISTER_PROJECT,
            Action::ACTION_MANAGE_PERMISSIONS,
            Action::ACTION_ADMINISTER_ACCOUNT,
        ],
        Role::Contributor => &[
            Action::ACTION_VIEW_FLYTE_INVENTORY,
            Action::ACTION_VIEW_FLYTE_EXECUTIONS,
            Action::ACTION_REGISTER_FLYTE_INVENTORY,
            Action::ACTION_CREATE_FLYTE_EXECUTIONS,
        ],
        Role::Viewer => {
            &[Action::ACTION_VIEW_FLYTE_INVENTORY, Action::ACTION_VIEW_FLYTE_EXECUTIONS]
        }
        // Gatekey's own; Union has no name for it.
        Role::Verifier => &[],
    }
}
