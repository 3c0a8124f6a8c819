//! The permission that each procedure requires. Procedures missing from the table are denied.

/// The procedure whose response does not end while the server runs.
pub const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// The permission that a procedure requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without a credential.
    Anonymous,
    /// Any key.
    Reflection,
    /// Every key.
    Authenticated,
    /// Keys with role admin.
    Admin,
    /// Keys with role admin, and the key that the request is about. The handler decides, because
    /// only the body names that key.
    AdminOrSelf,
}

const TABLE: &[(&str, Access)] = &[
    ("/cloudidl.identity.AppsService/Create", Access::Admin),
    ("/cloudidl.identity.AppsService/Get", Access::AdminOrSelf),
    ("/cloudidl.identity.AppsService/Update", Access::Admin),
    ("/cloudidl.identity.AppsService/Delete", Access::Admin),
    ("/cloudidl.identity.AppsService/List", Access::Admin),
    ("/cloudidl.authorizer.AuthorizerService/AssignIdentity", Access::Admin),
    ("/cloudidl.authorizer.AuthorizerService/UnassignIdentity", Access::Admin),
    ("/cloudidl.authorizer.AuthorizerService/GetIdentityAssignments", Access::Admin),
    ("/cloudidl.authorizer.AuthorizerService/GetPolicy", Access::Admin),
    ("/cloudidl.authorizer.AuthorizerService/GetRole", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Create", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Get", Access::AdminOrSelf),
    ("/gatekey.v1.ApiKeyService/List", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Update", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Delete", Access::Admin),
    ("/gatekey.v1.ApiKeyService/RotateSecret", Access::AdminOrSelf),
    ("/gatekey.v1.ApiKeyService/RetireSecret", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Disable", Access::Admin),
    ("/gatekey.v1.ApiKeyService/Enable", Access::Admin),
    ("/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata", Access::Anonymous),
    ("/flyteidl2.auth.AuthMetadataService/GetPublicClientConfig", Access::Anonymous),
    ("/flyteidl.service.AuthMetadataService/GetOAuth2Metadata", Access::Anonymous),
    ("/flyteidl.service.AuthMetadataService/GetPublicClientConfig", Access::Anonymous),
    ("/flyteidl2.auth.IdentityService/UserInfo", Access::Authenticated),
    ("/flyteidl.service.IdentityService/UserInfo", Access::Authenticated),
    ("/grpc.health.v1.Health/Check", Access::Anonymous),
    (WATCH, Access::Anonymous),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Access::Reflection),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Access::Reflection),
];

/// Returns the permission that a procedure requires; `None` if the table lacks it.
pub fn access(procedure: &str) -> Option<Access> {
    TABLE.iter().find(|(known, _)| *known == procedure).map(|(_, access)| *access)
}

pub fn procedures() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(procedure, _)| *procedure)
}

/// Returns the procedures that need no role. Their requests are empty or tiny.
pub fn without_role() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter(|(_, access)| *access != Access::Admin).map(|(procedure, _)| *procedure)
}
