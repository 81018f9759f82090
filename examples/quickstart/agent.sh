#!/bin/sh
# Stands for a program that needs secrets: it takes them from its environment
# and knows nothing of rooms.
echo "agent: log level $LOG_LEVEL"
echo "agent: OPENAI_API_KEY has ${#OPENAI_API_KEY} characters"
echo "agent: database user $DB_USER at ${DATABASE_URL##*@}"
