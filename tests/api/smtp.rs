//! Mail through a real SMTP server (aiosmtpd). Its Maildir contains what people would receive.
use crate::support::{TestApp, has_servers};
use bizcenter::db::jobs::JobContext;
use bizcenter::services::mail::{Mail, Mailer};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use uuid::Uuid;

/// The mails in a Maildir to this address.
fn mails_to(maildir: &Path, address: &str) -> Vec<String> {
    let files = std::fs::read_dir(maildir.join("new")).unwrap();
    let mails = files.map(|file| String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).into_owned());
    mails.filter(|mail| mail.contains(&format!("To: {address}"))).collect()
}

#[tokio::test]
async fn a_real_server_takes_our_mail() {
    if !has_servers() {
        return; // then there is no mail server, either
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

/// A script that reads a mail with another MIME library: Python's, because the mail server runs on Python.
const READ: &str = r"
import email, email.policy, json, sys
mail = email.message_from_bytes(open(sys.argv[1], 'rb').read(), policy=email.policy.default)
defects = [str(defect) for name in ('From', 'To', 'Subject') for defect in mail[name].defects]
print(json.dumps({
    'from': mail['From'].addresses[0].display_name, 'address': mail['From'].addresses[0].addr_spec,
    'to': mail['To'], 'subject': mail['Subject'], 'text': mail.get_content().replace('\r\n', '\n'),
    'defects': defects,
}))
";

#[tokio::test]
async fn another_library_reads_our_hangul() {
    if !has_servers() {
        return;
    }
    let [url, maildir] = ["TEST_SMTP_URL", "TEST_SMTP_MAILDIR"].map(|name| std::env::var(name).unwrap());
    let name = TestApp::start().await.unique();
    let mailer = Mailer::new(Some(&url), "비즈센터 고객 지원 <no-reply@예시.example>", false).unwrap();
    let subject = "비밀번호를 다시 정하십시오: ".repeat(8) + "끝";
    let text = format!("안녕하세요, 김철수님.\n\n{}\n\n감사합니다.\n", "가나다라마바사아자차카타파하".repeat(200));
    let mail = json!({"to": format!("{name}@예시.example"), "subject": subject, "text": text});
    let mail: Mail = serde_json::from_value(mail).unwrap(); // in the form in which a job has it
    let job = JobContext { id: Uuid::from_u128(1).into(), tenant: None, is_repeat: false };
    mailer.send(job, mail).await.unwrap();

    let to = format!("{name}@xn--vv4b11d.example");
    let mut files = std::fs::read_dir(Path::new(&maildir).join("new")).unwrap().map(|file| file.unwrap().path());
    let is_ours = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&format!("To: {to}"));
    let file = files.find(|path| is_ours(&std::fs::read(path).unwrap())).unwrap();
    let raw = std::fs::read(&file).unwrap();
    assert!(raw.is_ascii() && raw.split(|byte| *byte == b'\n').all(|line| line.len() <= 998));
    let output = Command::new("python3").args(["-c", READ]).arg(file).output().unwrap();
    let read: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let expected = json!({
        "from": "비즈센터 고객 지원", "address": "no-reply@xn--vv4b11d.example", "to": to, "subject": subject, "text": text,
        "defects": [],
    });
    assert_eq!(read, expected);
}
