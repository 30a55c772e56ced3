//! The emulator's table, asked without the gateway's own code: what the ledger holds is read here as an auditor would.

use crate::http::send;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Transactions that the emulator is warmed up with.
const WARMING: u32 = 400;

/// A table of an emulator that looks at no signature.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    dynamodb: SocketAddr,
    pub(crate) name: String,
}

impl Table {
    /// Makes one as `template.yaml` does.
    pub(crate) async fn create(dynamodb: SocketAddr, name: &str) -> Result<Self> {
        let attribute = |name: &str| json!({"AttributeName": name, "AttributeType": "S"});
        let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
        let table = json!({"TableName": name, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [attribute("pk"), attribute("sk")],
            "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")]});
        ask(dynamodb, "CreateTable", &table).await.context("the table")?;
        Ok(Self { dynamodb, name: name.to_owned() })
    }

    /// All receipts that are in the ledger (`docs/dynamodb.md`).
    pub(crate) async fn receipts(&self) -> Result<Vec<Value>> {
        let mut scan = json!({"TableName": self.name, "ConsistentRead": true,
            "FilterExpression": "begins_with(pk, :receipt)", "ProjectionExpression": "#json",
            "ExpressionAttributeNames": {"#json": "json"},
            "ExpressionAttributeValues": {":receipt": {"S": "RECEIPT#"}}});
        let mut receipts = Vec::new();
        loop {
            let page = ask(self.dynamodb, "Scan", &scan).await?;
            for item in page["Items"].as_array().into_iter().flatten() {
                receipts.push(serde_json::from_str(item["json"]["S"].as_str().context("a receipt's text")?)?);
            }
            if page["LastEvaluatedKey"].is_null() {
                return Ok(receipts);
            }
            scan["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
        }
    }
}

/// Has the emulator's Java machine compile what it will be asked for: cold, one transaction takes it 40 ms, and a load that
/// is more than it can take would measure that.
pub(crate) async fn warm(dynamodb: SocketAddr) -> Result<()> {
    Table::create(dynamodb, "warming").await?;
    for number in 0..WARMING {
        let key = |name: String| json!({"pk": {"S": name}, "sk": {"S": "warming"}});
        let put = json!({"Put": {"TableName": "warming", "Item": key(number.to_string()),
            "ConditionExpression": "attribute_not_exists(pk)"}});
        let add = |name: String| {
            json!({"Update": {"TableName": "warming", "Key": key(name),
            "UpdateExpression": "ADD n :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}})
        };
        let all = json!({"TransactItems": [put, add(format!("sum {}", number % 16)), add("sum".to_owned())]});
        ask(dynamodb, "TransactWriteItems", &all).await?;
        let read = json!({"TableName": "warming", "Key": key("sum".to_owned()), "ConsistentRead": true});
        ask(dynamodb, "GetItem", &read).await?;
    }
    Ok(())
}

async fn ask(dynamodb: SocketAddr, operation: &str, body: &Value) -> Result<Value> {
    let body = body.to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: dynamodb\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
         content-type: application/x-amz-json-1.0\r\nauthorization: AWS4-HMAC-SHA256 \
         Credential=emulator/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0\r\n\
         x-amz-date: 20260101T000000Z\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    send(dynamodb, request.as_bytes()).await?.json(200)
}
