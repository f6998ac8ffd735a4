"""The API inside a Flask application. Answers tell which process they come from."""

from __future__ import annotations

import os

from flask import Flask, Response

from stepflow.integrations.flask import stepflow_blueprint
from stepflow.testing.adapter_contract import program

application = Flask(__name__)
application.register_blueprint(stepflow_blueprint(program.app, **program.options()), url_prefix="/stepflow")


@application.after_request
def tell_the_process(response: Response) -> Response:
    response.headers["X-Process"] = str(os.getpid())
    return response
