import json


def write(dishes):
    return json.dumps(dishes), "application/json"
