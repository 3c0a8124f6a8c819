//! `cloudidl.identity.AppsService`: API keys in the terms of Union's public clients.

use std::sync::Arc;

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};
use gatekey_core::{
    api_key::LastAdmin,
    policy::{Action, Resource},
};
use gatekey_proto::cloudidl::identity::{
    AppsService, CreateAppRequest, CreateAppResponse, DeleteAppRequest, DeleteAppResponse,
    GetAppRequest, GetAppResponse, ListAppsRequest, ListAppsResponse, UpdateAppRequest,
    UpdateAppResponse,
};

use super::{
    Rpc, authorize,
    convert::{app, list},
    error::render,
    organization,
};

pub struct Apps {
    pub(super) rpc: Arc<Rpc>,
}

impl AppsService for Apps {
    async fn create(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, CreateAppRequest>,
    ) -> ServiceResult<CreateAppResponse> {
        let caller = authorize::admin(&self.rpc, &context).await?;
        let request = request.to_owned_message();
        organization::check(&self.rpc, &context, &caller, &request.organization).await?;
        let organization = request.organization.clone();
        let create = app::create(request).map_err(render)?;
        let created = self.rpc.api_keys.create(&caller, create).await.map_err(render)?;
        let mut app = app::from_key(&created.key, &organization);
        created.secret.expose().clone_into(&mut app.client_secret);
        Response::ok(CreateAppResponse { app: app.into(), ..Default::default() })
    }

    async fn get(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, GetAppRequest>,
    ) -> ServiceResult<GetAppResponse> {
        let resource = Resource::Key { client_id: request.client_id };
        let caller = authorize::check(&self.rpc, &context, Action::ReadKey, resource).await?.caller;
        organization::check(&self.rpc, &context, &caller, request.organization).await?;
        let key = self.rpc.api_keys.get(request.client_id).await.map_err(render)?;
        let app = app::from_key(&key, request.organization);
        Response::ok(GetAppResponse { app: app.into(), ..Default::default() })
    }

    async fn update(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, UpdateAppRequest>,
    ) -> ServiceResult<UpdateAppResponse> {
        let caller = authorize::admin(&self.rpc, &context).await?;
        let request = request.to_owned_message();
        organization::check(&self.rpc, &context, &caller, &request.organization).await?;
        let (client_id, organization) = (request.client_id.clone(), request.organization.clone());
        let patch = app::patch(request).map_err(render)?;
        let updated = self.rpc.api_keys.update(&caller, &client_id, patch, LastAdmin::Keep).await;
        let key = updated.map_err(render)?;
        Response::ok(UpdateAppResponse {
            app: app::from_key(&key, &organization).into(),
            ..Default::default()
        })
    }

    async fn delete(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, DeleteAppRequest>,
    ) -> ServiceResult<DeleteAppResponse> {
        let caller = authorize::admin(&self.rpc, &context).await?;
        organization::check(&self.rpc, &context, &caller, request.organization).await?;
        let deleted = self.rpc.api_keys.delete(&caller, request.client_id, LastAdmin::Keep).await;
        deleted.map_err(render)?;
        Response::ok(DeleteAppResponse::default())
    }

    async fn list(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, ListAppsRequest>,
    ) -> ServiceResult<ListAppsResponse> {
        let caller = authorize::admin(&self.rpc, &context).await?;
        let request = request.to_owned_message();
        organization::check(&self.rpc, &context, &caller, &request.organization).await?;
        let query =
            list::query(request.request.into_option().unwrap_or_default()).map_err(render)?;
        let page = self.rpc.api_keys.list(&query).await.map_err(render)?;
        let apps = page.keys.iter().map(|key| app::from_key(key, &request.organization)).collect();
        Response::ok(ListAppsResponse { apps, token: page.next_page_token, ..Default::default() })
    }
}
