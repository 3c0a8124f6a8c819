//! `cloudidl.identity.AppsService`, the service that public clients call.

mod change;
mod create;
mod list;
mod organization;
mod replay;
