//! `gatekey.v1.ApiKeyService`: API keys, including every feature that the public API lacks.

use std::{mem, sync::Arc};

use connectrpc::{ConnectError, RequestContext, Response, ServiceRequest, ServiceResult};
use gatekey_core::{
    Caller, Error,
    api_key::{WithSecret, list::ListKeys},
    policy::{Action, Resource},
};
use gatekey_credentials::{EncodedCredentials, PlainSecret};
use gatekey_proto::gatekey::v1::{
    ApiKeyService, CreateRequest, CreateResponse, DeleteRequest, DeleteResponse, DisableRequest,
    DisableResponse, EnableRequest, EnableResponse, GetRequest, GetResponse, ListRequest,
    ListResponse, RetireSecretRequest, RetireSecretResponse, RotateSecretRequest,
    RotateSecretResponse, UpdateRequest, UpdateResponse,
};
use zeroize::Zeroizing;

use super::{
    Rpc,
    authorize::{self, Granted},
    convert::api_key,
    error::render,
    organization,
};

pub struct ApiKeys {
    pub(super) rpc: Arc<Rpc>,
}

impl ApiKeys {
    async fn admin(&self, context: &RequestContext) -> Result<Caller, ConnectError> {
        let caller = authorize::admin(&self.rpc, context).await?;
        self.check_organization(context, &caller).await?;
        Ok(caller)
    }

    async fn check(
        &self,
        context: &RequestContext,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<Granted, ConnectError> {
        let granted = authorize::check(&self.rpc, context, action, resource).await?;
        self.check_organization(context, &granted.caller).await?;
        Ok(granted)
    }

    /// Checks the organization in the header: these requests have no field for it.
    async fn check_organization(
        &self,
        context: &RequestContext,
        caller: &Caller,
    ) -> Result<(), ConnectError> {
        organization::check(&self.rpc, context, caller, "").await
    }

    fn encode(&self, created: &WithSecret) -> Result<String, Error> {
        let secret = PlainSecret::from(&created.secret);
        let client_id = created.key.client_id.as_str();
        let encoded = EncodedCredentials::new(
            self.rpc.config.server.endpoint(),
            client_id,
            secret,
            &self.rpc.config.server.organization,
        )
        .map_err(|error| Error::Internal(error.into()))?;
        Ok(encoded.encode().expose().to_owned())
    }
}

impl ApiKeyService for ApiKeys {
    async fn create(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, CreateRequest>,
    ) -> ServiceResult<CreateResponse> {
        let caller = self.admin(&context).await?;
        let create = api_key::create(request.to_owned_message()).map_err(render)?;
        let created = self.rpc.api_keys.create(&caller, create).await.map_err(render)?;
        Response::ok(CreateResponse {
            encoded_credentials: self.encode(&created).map_err(render)?,
            client_secret: created.secret.expose().to_owned(),
            api_key: api_key::from_key(&created.key).into(),
            ..Default::default()
        })
    }

    async fn get(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, GetRequest>,
    ) -> ServiceResult<GetResponse> {
        let resource = Resource::Key { client_id: request.client_id };
        self.check(&context, Action::ReadKey, resource).await?;
        let key = self.rpc.api_keys.get(request.client_id).await.map_err(render)?;
        Response::ok(GetResponse { api_key: api_key::from_key(&key).into(), ..Default::default() })
    }

    async fn list(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, ListRequest>,
    ) -> ServiceResult<ListResponse> {
        self.admin(&context).await?;
        let query = ListKeys {
            limit: request.page_size as usize,
            page_token: request.page_token.to_owned(),
            ..ListKeys::default()
        };
        let page = self.rpc.api_keys.list(&query).await.map_err(render)?;
        Response::ok(ListResponse {
            api_keys: page.keys.iter().map(api_key::from_key).collect(),
            next_page_token: page.next_page_token,
            ..Default::default()
        })
    }

    async fn update(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, UpdateRequest>,
    ) -> ServiceResult<UpdateResponse> {
        let caller = self.admin(&context).await?;
        let last_admin = api_key::last_admin(request.force);
        let (client_id, patch) = api_key::patch(request.to_owned_message()).map_err(render)?;
        let updated = self.rpc.api_keys.update(&caller, &client_id, patch, last_admin).await;
        let key = updated.map_err(render)?;
        Response::ok(UpdateResponse {
            api_key: api_key::from_key(&key).into(),
            ..Default::default()
        })
    }

    async fn delete(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, DeleteRequest>,
    ) -> ServiceResult<DeleteResponse> {
        let caller = self.admin(&context).await?;
        let last_admin = api_key::last_admin(request.force);
        let deleted = self.rpc.api_keys.delete(&caller, request.client_id, last_admin).await;
        deleted.map_err(render)?;
        Response::ok(DeleteResponse::default())
    }

    async fn rotate_secret(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, RotateSecretRequest>,
    ) -> ServiceResult<RotateSecretResponse> {
        let mut request = request.to_owned_message();
        let current_secret = Zeroizing::new(mem::take(&mut request.current_secret));
        let resource = Resource::Key { client_id: &request.client_id };
        let granted = self.check(&context, Action::RotateSecret, resource).await?;
        let mut proven_by = None;
        if let Some(key_id) = granted.only_key {
            let client_id = &request.client_id;
            let secret =
                authorize::prove(&self.rpc, &context, client_id, key_id, &current_secret).await?;
            proven_by = Some(secret);
        }
        let client_id = request.client_id.clone();
        let mut rotate = api_key::rotate(request).map_err(render)?;
        (rotate.only_key, rotate.proven_by) = (granted.only_key, proven_by);
        let rotated = self
            .rpc
            .api_keys
            .rotate_secret(&granted.caller, &client_id, rotate)
            .await
            .map_err(render)?;
        Response::ok(RotateSecretResponse {
            encoded_credentials: self.encode(&rotated).map_err(render)?,
            client_secret: rotated.secret.expose().to_owned(),
            api_key: api_key::from_key(&rotated.key).into(),
            ..Default::default()
        })
    }

    async fn retire_secret(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, RetireSecretRequest>,
    ) -> ServiceResult<RetireSecretResponse> {
        let caller = self.admin(&context).await?;
        let (client_id, secret_id) = (request.client_id, request.secret_id);
        let last_admin = api_key::last_admin(request.force);
        let retired =
            self.rpc.api_keys.retire_secret(&caller, client_id, secret_id, last_admin).await;
        let key = retired.map_err(render)?;
        Response::ok(RetireSecretResponse {
            api_key: api_key::from_key(&key).into(),
            ..Default::default()
        })
    }

    async fn disable(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, DisableRequest>,
    ) -> ServiceResult<DisableResponse> {
        let caller = self.admin(&context).await?;
        let last_admin = api_key::last_admin(request.force);
        let disabled = self.rpc.api_keys.disable(&caller, request.client_id, last_admin).await;
        let key = disabled.map_err(render)?;
        Response::ok(DisableResponse {
            api_key: api_key::from_key(&key).into(),
            ..Default::default()
        })
    }

    async fn enable(
        &self,
        context: RequestContext,
        request: ServiceRequest<'_, EnableRequest>,
    ) -> ServiceResult<EnableResponse> {
        let caller = self.admin(&context).await?;
        let key = self.rpc.api_keys.enable(&caller, request.client_id).await.map_err(render)?;
        Response::ok(EnableResponse {
            api_key: api_key::from_key(&key).into(),
            ..Default::default()
        })
    }
}
