//! `cloudidl.identity.AppsService`: API keys as Union's public clients speak of them.

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};
use gatekey_core::Error;
use gatekey_proto::cloudidl::identity::{
    AppsService, CreateAppRequest, CreateAppResponse, DeleteAppRequest, DeleteAppResponse, GetAppRequest,
    GetAppResponse, ListAppsRequest, ListAppsResponse, UpdateAppRequest, UpdateAppResponse,
};

use super::{
    authorize,
    convert::{app, list},
    error::render,
};
use crate::App;

/// The header in which flytekit names the organization.
const ACTIVE_ORGANIZATION: &str = "x-user-active-org";

/// The service.
pub struct Apps(pub App);

impl Apps {
    /// Whether a request is for this server: by its field and by its header.
    fn check_organization(&self, context: &RequestContext, organization: &str) -> Result<(), Error> {
        let header = context.header(ACTIVE_ORGANIZATION).map(|value| value.to_str().unwrap_or("\u{fffd}"));
        for asked in [organization, header.unwrap_or_default()] {
            if !self.0.organization.answers_to(asked) {
                return Err(Error::UnknownOrganization(asked.chars().take(64).collect()));
            }
        }
        Ok(())
    }
}

impl AppsService for Apps {
    async fn create(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, CreateAppRequest>,
    ) -> ServiceResult<CreateAppResponse> {
        let caller = authorize::admin(&self.0, &context).await?;
        let request = request.to_owned_message();
        if let Err(Error::UnknownOrganization(name)) =
            self.check_organization(&context, &request.organization)
        {
            // Not NOT_FOUND: there is nothing to be found yet.
            let reason = format!("organization {name:?} is not served here");
            self.0.record_refusal(&caller, context.path().unwrap_or_default(), &reason).await;
            return Err(render(Error::Forbidden(reason)));
        }
        let organization = request.organization.clone();
        let create = app::create(request).map_err(render)?;
        let created = self.0.api_keys.create(&caller, create).await.map_err(render)?;
        let mut app = app::from_key(&created.key, &organization);
        created.secret.expose().clone_into(&mut app.client_secret);
        Response::ok(CreateAppResponse { app: app.into(), ..Default::default() })
    }

    async fn get(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, GetAppRequest>,
    ) -> ServiceResult<GetAppResponse> {
        authorize::admin_or_self(&self.0, &context, request.client_id).await?;
        self.check_organization(&context, request.organization).map_err(render)?;
        let key = self.0.api_keys.get(request.client_id).await.map_err(render)?;
        let app = app::from_key(&key, request.organization);
        Response::ok(GetAppResponse { app: app.into(), ..Default::default() })
    }

    async fn update(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, UpdateAppRequest>,
    ) -> ServiceResult<UpdateAppResponse> {
        let caller = authorize::admin(&self.0, &context).await?;
        let request = request.to_owned_message();
        self.check_organization(&context, &request.organization).map_err(render)?;
        let (client_id, organization) = (request.client_id.clone(), request.organization.clone());
        let patch = app::patch(request).map_err(render)?;
        let key = self.0.api_keys.update(&caller, &client_id, patch).await.map_err(render)?;
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
        let caller = authorize::admin(&self.0, &context).await?;
        self.check_organization(&context, request.organization).map_err(render)?;
        self.0.api_keys.delete(&caller, request.client_id).await.map_err(render)?;
        Response::ok(DeleteAppResponse::default())
    }

    async fn list(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, ListAppsRequest>,
    ) -> ServiceResult<ListAppsResponse> {
        authorize::admin(&self.0, &context).await?;
        let request = request.to_owned_message();
        self.check_organization(&context, &request.organization).map_err(render)?;
        let query = list::query(request.request.into_option().unwrap_or_default()).map_err(render)?;
        let page = self.0.api_keys.list(&query).await.map_err(render)?;
        let apps = page.keys.iter().map(|key| app::from_key(key, &request.organization)).collect();
        Response::ok(ListAppsResponse { apps, token: page.next_page_token, ..Default::default() })
    }
}
