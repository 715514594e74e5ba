DROP TABLE calendar_feeds;
DROP TABLE meeting_action_items;
DROP TABLE meeting_attendees;
DROP TABLE meetings;
