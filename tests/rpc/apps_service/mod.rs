//! `cloudidl.identity.AppsService`, the service that public clients call.

mod create;
mod delete;
mod list;
mod organization;
mod replay;
mod update;
