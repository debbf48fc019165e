//! The shop as a native monolith: axum and serde around the modules' own business rules.
//!
//! It is what a team would write without WebAssembly: one process, plain calls between modules, and JSON by derived code. The rules
//! are the modules' crates, compiled natively. Each module has its own database, managed by the host's `sql` crate.

// The interfaces of orders, implemented with the other modules' services: the file of the modules' own tests. A test has no library, and
// these tests must not depend on the host's crates.
#[path = "../../../modules/orders/tests/shop/native.rs"]
mod adapters;
mod fiber;
mod platform;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{self, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use shop_notifications::service::Notifications;
use shop_orders::model::Error;
use shop_orders::service::Orders;
use shop_payments::service::Payments;
use watertight_component::artifact::{Artifact, MAX_COMPONENT_BYTES};
use watertight_sql::{Database, Settings};

use adapters::{NativeNotifications, NativePayments};
use platform::NativePlatform;
use wire::{DraftJson, OrderJson, Problem};

type Service<'f> =
    Orders<NativePlatform<'f>, NativePayments<NativePlatform<'f>>, NativeNotifications<NativePlatform<'f>>>;

/// The time limit of a request, which equals the default of the host.
const REQUEST: Duration = Duration::from_secs(30);

/// The databases of the three modules.
struct Shop {
    orders: Database,
    payments: Database,
    notifications: Database,
}

/// Builds the router of the shop, with its databases in `state`.
pub(crate) fn router(state: &Path) -> anyhow::Result<Router> {
    std::fs::create_dir_all(state)?;
    let open = |name: &str| {
        // The migrations are the ones that the host applies.
        let component =
            watertight_testkit::paths::repository().join("target/components").join(name).with_extension("wasm");
        let artifact = Artifact::load(&component, MAX_COMPONENT_BYTES)?;
        anyhow::Ok(Database::open(&state.join(name).with_extension("db"), Settings::default(), artifact.migrations())?)
    };
    let shop = Shop { orders: open("orders")?, payments: open("payments")?, notifications: open("notifications")? };
    let router = Router::new().route("/orders", post(place_order)).route("/orders/{id}", get(get_order));
    Ok(router.with_state(Arc::new(shop)))
}

impl Shop {
    /// Answers one request by calling the orders service.
    async fn request<T: 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Service<'_>) -> Result<T, Error> + 'static,
    ) -> Result<T, Problem> {
        let deadline = Instant::now() + REQUEST;
        let done = fiber::run(move |fiber| {
            let platform = |name, database| NativePlatform { name, database, deadline, fiber };
            let payments = NativePayments(Payments::new(platform("payments", &self.payments)));
            let notifications = NativeNotifications(Notifications::new(platform("notifications", &self.notifications)));
            work(&Orders::new(platform("orders", &self.orders), payments, notifications))
        });
        done.await.map_err(Problem::from)
    }
}

async fn place_order(
    State(shop): State<Arc<Shop>>,
    headers: HeaderMap,
    Json(draft): Json<DraftJson>,
) -> Result<(StatusCode, Json<OrderJson>), Problem> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let order = shop.request(move |orders| orders.place(draft.into(), key.as_deref())).await?;
    Ok((StatusCode::CREATED, Json(order.into())))
}

async fn get_order(
    State(shop): State<Arc<Shop>>,
    extract::Path(id): extract::Path<String>,
) -> Result<Json<OrderJson>, Problem> {
    Ok(Json(shop.request(move |orders| orders.get(&id)).await?.into()))
}
