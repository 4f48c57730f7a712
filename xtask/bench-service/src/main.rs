//! A service of realistic size, which the benchmarks change and load again.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tracing_subscriber::EnvFilter;

/// Accepts orders.
#[derive(Clone, Parser)]
struct Args {
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: String,
    /// URL that receives each order
    #[arg(long)]
    hook: Option<String>,
    /// URL of the database that stores the orders
    #[arg(long)]
    database: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Order {
    item: String,
    count: u64,
}

async fn order(
    State(args): State<Args>,
    Json(order): Json<Order>,
) -> Result<Json<Order>, StatusCode> {
    if order.count == 0 {
        return Err(StatusCode::BAD_REQUEST);
    }
    // CONDITION
    if let Some(hook) = &args.hook {
        let response = reqwest::Client::new().post(hook).json(&order).send().await;
        response.map_err(|_| StatusCode::BAD_GATEWAY)?;
    }
    if let Some(database) = &args.database {
        store(database, &order).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    }
    tracing::info!(?order, "order accepted");
    Ok(Json(order))
}

async fn store(database: &str, order: &Order) -> sqlx::Result<()> {
    let pool = PgPool::connect(database).await?;
    let insert = sqlx::query("INSERT INTO orders (item, count) VALUES ($1, $2)");
    insert.bind(&order.item).bind(order.count as i64).execute(&pool).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    tracing_subscriber::fmt().json().with_env_filter(EnvFilter::from_default_env()).init();
    let args = Args::parse();
    let listener = tokio::net::TcpListener::bind(&args.listen).await?;
    let app = Router::new().route("/orders", post(order)).with_state(args);
    axum::serve(listener, app).await
}
