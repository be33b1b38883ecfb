"""Opens `/foreserve` in Airflow 2, without and with a login. Prints the addresses that it redirects to, as JSON."""

import json
import sys

from airflow.www.app import create_app

app = create_app(testing=True)
app.config["WTF_CSRF_ENABLED"] = False
manager = app.appbuilder.sm
manager.add_user("ada", "Ada", "L", "ada@example.com", manager.find_role("Admin"), password="ada")

with app.test_client() as client:
    anonymous = client.get("/foreserve").headers["Location"]
    client.post("/login/", data={"username": "ada", "password": "ada"})
    signed_in = client.get("/foreserve").headers["Location"]
    entry = "Predictions" in client.get("/home").text

sys.stdout.write(f"\n{json.dumps({'anonymous': anonymous, 'signed_in': signed_in, 'entry': entry})}\n")
