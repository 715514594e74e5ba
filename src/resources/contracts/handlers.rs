//! Contracts over HTTP.
use super::Tag;
use super::types::{Contract, ContractFilter, ContractId, ContractInput};
use super::{Delete, Read, SeeAmounts, Write, queries};
use crate::api::export::ExportOf;
use crate::api::list::List;
use crate::api::{
    Caller, Created, Deleted, Export, Found, IdempotencyKey, IfMatch, IfNoneMatch, Json, Listed, Patch, Query, Saved,
};
use crate::auth::Permission;
use crate::base::error::Result;
use crate::db::Db;
use futures_util::FutureExt;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;

pub struct ContractsApi {
    pub db: Db,
}

/// The answer to a change shows the amount, so everybody who may change a contract must be allowed to see amounts.
const _: () = assert!(Write::ROLE as u8 >= SeeAmounts::ROLE as u8);

#[OpenApi(prefix_path = "/api/v1", tag = "Tag::Contracts")]
impl ContractsApi {
    /// List contracts
    #[oai(path = "/contracts", method = "get", operation_id = "contract_list")]
    async fn list(&self, caller: Caller<Read>, Query(list): Query<List<ContractFilter>>) -> Result<Listed<Contract>> {
        let amounts = caller.with::<SeeAmounts>().is_some();
        Ok(Listed(list.read(&self.db, &caller, async |tx| queries::list(tx, &list, amounts).await).await?))
    }

    /// Export contracts
    #[oai(path = "/contracts/export", method = "get", operation_id = "contract_export")]
    async fn export(&self, caller: Caller<Read>, Query(export): Query<ExportOf<ContractFilter>>) -> Result<Export> {
        let db = self.db.clone();
        match caller.with::<SeeAmounts>() {
            // The export uses this permission, so that it breaks off when the caller loses the permission.
            Some(caller) => Export::stream(db, caller, export, |tx, list| queries::list(tx, list, true).boxed()).await,
            None => Export::stream(db, caller, export, |tx, list| queries::list(tx, list, false).boxed()).await,
        }
    }

    /// Create a contract
    #[oai(path = "/contracts", method = "post", operation_id = "contract_create")]
    async fn create(
        &self,
        caller: Caller<Write>,
        idempotency_key: IdempotencyKey,
        Json(input): Json<ContractInput>,
    ) -> Result<Created<Contract>> {
        let key = idempotency_key.of(&input)?;
        Ok(Created(self.db.write_once(&caller, key, async |tx| queries::insert(tx, input).await).await?))
    }

    /// Get a contract
    #[oai(path = "/contracts/:contract_id", method = "get", operation_id = "contract_get")]
    async fn get(
        &self,
        caller: Caller<Read>,
        Path(contract_id): Path<ContractId>,
        if_none_match: IfNoneMatch,
    ) -> Result<Found<Contract>> {
        let amounts = caller.with::<SeeAmounts>().is_some();
        let find = async |tx: &mut _| queries::find(tx, contract_id, amounts).await;
        Ok(Found(self.db.read(&caller, find).await?, if_none_match))
    }

    /// Replace a contract
    #[oai(path = "/contracts/:contract_id", method = "put", operation_id = "contract_replace")]
    async fn replace(
        &self,
        caller: Caller<Write>,
        Path(contract_id): Path<ContractId>,
        if_match: IfMatch,
        Json(input): Json<ContractInput>,
    ) -> Result<Saved<Contract>> {
        let change = async |tx: &mut _| {
            let contract = caller.authorize(queries::find_to_change(tx, contract_id).await?, &if_match)?;
            queries::update(tx, contract, input).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Change a contract
    #[oai(path = "/contracts/:contract_id", method = "patch", operation_id = "contract_change")]
    async fn change(
        &self,
        caller: Caller<Write>,
        Path(contract_id): Path<ContractId>,
        if_match: IfMatch,
        Json(patch): Json<Patch<ContractInput>>,
    ) -> Result<Saved<Contract>> {
        let change = async |tx: &mut _| {
            let contract = caller.authorize(queries::find_to_change(tx, contract_id).await?, &if_match)?;
            let input = patch.apply(&contract.input)?;
            queries::update(tx, contract, input).await
        };
        Ok(Saved(self.db.write(&caller, change).await?))
    }

    /// Delete a contract
    #[oai(path = "/contracts/:contract_id", method = "delete", operation_id = "contract_delete")]
    async fn delete(
        &self,
        caller: Caller<Delete>,
        Path(contract_id): Path<ContractId>,
        if_match: IfMatch,
    ) -> Result<Deleted> {
        let delete = async |tx: &mut _| {
            let contract = caller.authorize(queries::find_to_delete(tx, contract_id).await?, &if_match)?;
            queries::delete(tx, contract).await
        };
        self.db.write(&caller, delete).await?;
        Ok(Deleted)
    }
}
