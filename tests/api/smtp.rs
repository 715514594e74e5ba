//! Mail through a real SMTP server (aiosmtpd): what it puts into its Maildir is what people would get.
use crate::support::{TestApp, has_servers};
use serde_json::json;
use std::path::Path;

/// The mails in a Maildir that are to this address.
fn mails_to(maildir: &Path, address: &str) -> Vec<String> {
    let files = std::fs::read_dir(maildir.join("new")).unwrap();
    let mails = files.map(|file| String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).into_owned());
    mails.filter(|mail| mail.contains(&format!("To: {address}"))).collect()
}

#[tokio::test]
async fn a_real_server_takes_our_mail() {
    if !has_servers() {
        return; // nor a mail server
    }
    let [url, maildir] = ["TEST_SMTP_URL", "TEST_SMTP_MAILDIR"].map(|name| std::env::var(name).unwrap());
    let app = TestApp::with(move |config| {
        config.mail.smtp_url = Some(url.into());
        config.mail.from = "BizCenter <no-reply@bizcenter.example>".into();
    })
    .await;
    let tenant = app.tenant().await;
    let email = format!("{}@invited.example", app.unique());
    let invitation = json!({"email": email, "role": "editor"});
    let invited = tenant.owner.post("/api/v1/invitations").json(&invitation).expect(201).await.json();
    app.run_jobs().await;
    let mails = mails_to(Path::new(&maildir), &email);
    assert_eq!(mails.len(), 1);
    let mail = mails[0].replace("=\n", "").replace("=\r\n", "");
    assert!(mail.contains("From: BizCenter <no-reply@bizcenter.example>"), "{mail}");
    assert!(mail.contains(invited["token"].as_str().unwrap()), "{mail}");
    assert!(mail.contains("Message-ID: <") && mail.contains("Subject: You are invited to"), "{mail}");
}
