DROP TABLE task_comment_mentions;
DROP TABLE task_comments;
